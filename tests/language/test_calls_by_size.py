"""A call may fix a size of a layer's parameters by the letter that the layer gives it."""

from __future__ import annotations

from programs import checked, parameters, refused

DENSE = """\
layer Dense(L[b, i], Φ, width J):
    param W[I, J]
    if J > 4: param B[J] = 0
    return[b,j] = W[I,j] * L[b,I]

Given x[12]
"""


def test_the_letter_of_an_argument_stands_for_its_keyword() -> None:
    assert parameters(checked(DENSE + "s = Dense(x, Φ1, J 3)\n")) == {"Φ1.W": (12, 3)}
    assert parameters(checked(DENSE + "s = Dense(x, Φ1, J = 5)\n")) == {"Φ1.W": (12, 5), "Φ1.B": (5,)}


def test_a_library_layer_takes_the_letter_too() -> None:
    assert parameters(checked("Given L[5,5,2]\nC = Conv(L, Φ1, width 3, J 4)\n"))["Φ1.W"] == (3, 3, 2, 4)


def test_keyword_and_letter_together_are_given_twice() -> None:
    refused(DENSE + "s = Dense(x, Φ1, width 3, J 4)\n", "E505")


def test_sizes_of_a_bundle_reach_the_first_parameter_of_a_layer_inside() -> None:
    text = "Given L[8,8,16]\nJ = 16\nK = 4\nU = ConvNorm(Φ_A[1,1,J,K], L, width 1)\nV = ConvNorm(Φ_R[3,3,K,K], U)\n"
    found = parameters(checked(text))
    assert found["Φ_A.conv.W"] == (1, 1, 16, 4)
    assert found["Φ_R.conv.W"] == (3, 3, 4, 4)
    refused("Given L[8,8,16]\nJ = 15\nU = ConvNorm(Φ_A[1,1,J,J], L, width 1)\n", "E520")
