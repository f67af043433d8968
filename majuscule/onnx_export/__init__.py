"""Programs as ONNX models: operators of ONNX where an equation is one, a composition of basic ones elsewhere."""
