"""Whole tensors as arguments with a capital for each axis, `Conv(Φ[3,3,J,J], L[B,X,Y,J])` (E15)."""

from __future__ import annotations

from programs import checked, parameters, refused, shape


def test_capitals_of_a_bundle_are_axes_of_the_statement() -> None:
    for arguments in ("Φ[3,3,J,J], L[B,X,Y,J]", "L[B,X,Y,J], Φ[3,3,J,J]"):
        program = checked(f"Given L[8,8,4]\nR[B,X,Y,J] = Conv({arguments}, pad 1)\n")
        assert parameters(program)["Φ.W"] == (3, 3, 4, 4)
        assert shape(program, "R") == (8, 8, 4)


def test_a_capital_that_nothing_binds_is_found_from_the_result() -> None:
    program = checked("Given L[8,8,4]\nR[8x8x6] = Conv(Φ[1,1,J,K], L)\n")
    assert parameters(program)["Φ.W"] == (1, 1, 4, 6)


def test_a_capital_stands_for_one_size_in_a_statement() -> None:
    refused("Given L[8,8,4], M[8,8,5]\nR = Attention(L[B,X,Y,J], M[B,X,Y,J], M[B,X,Y,J])\n", "E410")


def test_a_capital_may_stand_for_another_size_in_the_next_turn_of_a_loop() -> None:
    text = "Given L_0[16,16,4]\nfor l in 0..2: L_{l+1} = Conv(L_l[B,X,Y,J], width 3, filters 4)\n"
    assert shape(checked(text), "L_2") == (12, 12, 4)


def test_a_capital_may_stand_for_another_size_in_the_next_call_of_a_layer() -> None:
    layer = "layer F(L[b,x,y,j], Φ):\n    return Conv(L[B,X,Y,J], Φ, width 3, filters 4)\n"
    program = checked(layer + "Given A[16,16,4], C[8,8,4]\na = F(A)\nc = F(C)\n")
    assert shape(program, "c") == (6, 6, 4)
