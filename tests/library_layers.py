"""A program for each layer of the library: one that uses it on a small tensor."""

from __future__ import annotations

import re
from pathlib import Path

import majuscule.dsl.library

IMAGE = "Given L[5, 5, 4]\n"
LINE = "Given L[6, 4]\n"
VOLUME = "Given L[3, 4, 3, 2]\n"
SCORES = "Given s[3, 4], label[3]: int64\n"
NUMBERS = "Given h[3, 4], y[3, 4]\n"

LAYERS = {
    "Softmax": LINE + "R = Softmax(L)",
    "PReLU": LINE + "R = PReLU(L)",
    "Attention": "Given Q[3, 4], K[5, 4], V[5, 2]\nR = Attention(Q, K, V)",
    "CrossAttention": "Given X[3, 4], Y[5, 3]\nR = CrossAttention(X, Y, heads 2)",
    "MultiHeadAttention": "Given X[T, 4]\nR = MultiHeadAttention(X, heads 2, causal true)",
    "EncoderBlock": "Given X[3, 4]\nR = EncoderBlock(X, heads 2, hidden 5, rate 0.25)",
    "ConvNorm": IMAGE + "R = ConvNorm(L, filters 3, stride 2)",
    "Shortcut": IMAGE + "R = Shortcut(L, filters 6, stride 2, shortcut zeros)",
    "ResidualBlock": IMAGE + "R = ResidualBlock(L, filters 6, stride 2)",
    "Bottleneck": IMAGE + "R = Bottleneck(L, filters 6, inner 4, groups 2, stride 2)",
    "PreActivationBlock": IMAGE + "R = PreActivationBlock(L, filters 4)",
    "DenseLayer": IMAGE + "R = DenseLayer(L, growth 2, inner 3)",
    "DenseBlock": IMAGE + "R = DenseBlock(L, layers 2, growth 2)",
    "Transition": IMAGE + "R = Transition(L)",
    "InvertedResidual": IMAGE + "R = InvertedResidual(L, expand 2)",
    "SqueezeExcite": IMAGE + "R = SqueezeExcite(L, units 3)",
    "Inception": IMAGE + "R = Inception(L, ones 2, reduce3 2, threes 3, reduce5 1, fives 2, pool 2)",
    "Conv1d": LINE + "R = Conv1d(L, width 3, stride 2, pad 2, dilation 2, filters 3)",
    "Conv": IMAGE + "R = Conv(L, width (3, 2), stride (3, 1), pad (1, 2), groups 2, filters 4, mode reflect)",
    "Conv3d": VOLUME + "R = Conv3d(L, width 2, stride (1, 2, 1), filters 3)",
    "DepthwiseConv": IMAGE + "R = DepthwiseConv(L, width 3, stride 2, pad 1, multiplier 2)",
    "Dropout": LINE + "R = Dropout(L, rate 0.3)",
    "Dropout2d": IMAGE + "R = Dropout2d(L, rate 0.3)",
    "Linear": LINE + "R = Linear(L, units 3)",
    "FC": IMAGE + "R = FC(L, units 3)",
    "Flatten": IMAGE + "F = Flatten(L)\nR = F^2",
    "Maxout": LINE + "R = Maxout(L, units 3, pieces 2)",
    "Embedding": "Given t[T]: int64\nR = Embedding(t, words 6, features 3)",
    "SquaredError": NUMBERS + "loss J = SquaredError(h, y)",
    "MeanSquaredError": NUMBERS + "loss J = MeanSquaredError(h, y)",
    "AbsoluteError": NUMBERS + "loss J = AbsoluteError(h, y)",
    "Huber": NUMBERS + "loss J = Huber(h, y)",
    "CrossEntropy": SCORES + "loss J = CrossEntropy(s, label)",
    "NegativeLogLikelihood": SCORES + "p = Softmax(s)\nloss J = NegativeLogLikelihood(p, label)",
    "BinaryCrossEntropy": NUMBERS + "loss J = BinaryCrossEntropy(h, y)",
    "BatchNorm": IMAGE + "R = BatchNorm(L)",
    "LayerNorm": LINE + "R = LayerNorm(L)",
    "InstanceNorm": IMAGE + "R = InstanceNorm(L, affine true)",
    "GroupNorm": IMAGE + "R = GroupNorm(L, groups 2)",
    "DecorrelatedBatchNorm": LINE + "R = DecorrelatedBatchNorm(L, iterations 3)",
    "LocalResponseNorm": LINE + "R = LocalResponseNorm(L, size 3, alpha 0.5)",
    "MaxPool1d": LINE + "R = MaxPool1d(L, width 3, stride 2)",
    "MaxPool": IMAGE + "R = MaxPool(L, width 3, stride 2, pad 1, ceil true)",
    "MaxPool3d": VOLUME + "R = MaxPool3d(L, width 2, stride 1)",
    "MeanPool1d": LINE + "R = MeanPool1d(L, width 3, stride 2, pad 1)",
    "MeanPool": IMAGE + "R = MeanPool(L, width 3, stride 2, ceil true)",
    "MeanPool3d": VOLUME + "R = MeanPool3d(L, width 2, stride 1, pad 1, count_padding true)",
    "GlobalMeanPool1d": LINE + "R = GlobalMeanPool1d(L)",
    "GlobalMeanPool": IMAGE + "R = GlobalMeanPool(L)",
    "GlobalMeanPool3d": VOLUME + "R = GlobalMeanPool3d(L)",
    "GlobalMaxPool1d": LINE + "R = GlobalMaxPool1d(L)",
    "GlobalMaxPool": IMAGE + "R = GlobalMaxPool(L)",
    "GlobalMaxPool3d": VOLUME + "R = GlobalMaxPool3d(L)",
    "AdaptiveMeanPool": IMAGE + "R = AdaptiveMeanPool(L, size (2, 3))",
    "RNN": "Given x[T, 3]\nR = RNN(x, units 2)",
    "LSTM": "Given x[T, 3]\nR, c = LSTM(x, units 2)\noutput R, c",
    "GRU": "Given x[T, 3]\nR = GRU(x, units 2)",
    "ConvTranspose1d": LINE + "R = ConvTranspose1d(L, width 3, stride 2, dilation 2, filters 3)",
    "ConvTranspose": IMAGE + "R = ConvTranspose(L, width 3, stride (2, 3), pad 1, groups 2, filters 4)",
    "ConvTranspose3d": VOLUME + "R = ConvTranspose3d(L, width 2, stride 2, filters 2)",
}
"""All layers that have a gradient, by name."""

OTHERS = {"Accuracy": SCORES + "A = Accuracy(s, label)"}
"""And those that have none."""


def names_in_the_library() -> set[str]:
    """The layers of the library but for the rules of optimisers, which use gradients."""
    folder = Path(majuscule.dsl.library.__file__).parent
    return {
        name
        for file in folder.glob("*.maj")
        if file.stem != "optimisers"
        for name in re.findall(r"^layer (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
