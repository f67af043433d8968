"""Correct programs that between them use all of the language: what the mutation tests start from."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]

PROGRAMS: dict[str, str] = {
    "layers": """\
Given Input[28, 28, 1]
L1[24x24x6] = ReLU(CONV(Input, Φ1, width 5, pad 0, stride 1))
L2[b,x,y,j] = max[Δx in 0..2, Δy in 0..2](L1[b, 2*x + Δx, 2*y + Δy, j])
Z[b,(x,y,j)] = L2[b,x,y,j]
param W[864, 10] ~ xavier
param B[10] = 0
s[b,k] = W[I,k] * Z[b,I] + B[k]
""",
    "equations": """\
Given L0[10, 10, 3]
param W[3, 3, 3, 4] ~ xavier
param B[4] = 0
L1[b,x,y,j] = max(0, W[ΔX,ΔY,I,j] * L0[b, 2*x + ΔX, 2*y + ΔY, I] + B[j])
L2[b,x,j] = max[y in 0..4](L1[b,x,y,j])
output L2
""",
    "a library": """\
layer Dense(L[b, i], Φ, width J):
    param W[I, J] ~ he
    param B[J] = 0
    if J > 100:
        return[b,j] = W[I,j] * L[b,I]
    else:
        return[b,j] = W[I,j] * L[b,I] + B[j]

layer Block(L[...], depth n = 2):
    R_0 = L
    for l in 0..n:
        R_{l+1} = tanh(Dense(R_l, width size(L, 1)))
    return L + R_{n}

function leaky(x, slope) = max(slope * x, x)
alias fully_connected = Dense

Given x[12]
h = leaky(Dense(x, Φ1, width 8), 0.1)
g = Block(h, depth 3)
s[5] = fully_connected(g, Φ1', 5)
""",
    "recurrence": """\
Given x[T, 5]
J = 7
param W[J,J]
param U[5,J]
param B[J]
h[b,t,j] = tanh( W[J,j] h[b,t-1,J] + U[I,j] x[b,t,I] - B[j] )
h[b,-1,j] = 0
L[b,t,J1+J2] = h[b,t,J1] ; x[b,t,J2]
p[b,t,j] = softmax[j](L[b,t,j])
""",
    "parts and cases": """\
Given x[8, 4]
T[b, 2*u, j] = x[b, u, j]
T[b, 2*u + 1, j] = -x[b, u, j]
C[b, u in 0..16, j in 0..6] = { T[b,u,j] if j < 4 ; 0 otherwise }
K = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
for b, u, v:
    E[b,u,v] = K[ΔU,ΔV] * C[b, u + ΔU, v + ΔV]
D[b,u] = E[b,u,0] if u % 2 == 0 else 2.5 * E[b, u, 1]^2
total[b] = Σ_{u,v} E[b,u,v] / mean[u, v](1 + abs(E[b,u,v]))
param Q[3, 3] = K
R[b] = Q[U,V] * Q[U,V] * total[b]
""",
    "training": """\
Given image[x 6, y 6, j 2], label[]: int64
param W[2, 3] ~ glorot
state seen[3] = 0
P = pad(image, x: 1, y: (0, 2), mode replicate)
M[b,j] = mean[x, y](P[b,x,y,j])
s[b,k] = W[I,k] * M[b,I]
when training:
    update seen[k] = 0.9 * seen[k] + 0.1 * mean[b](s[b,k])
when inferring:
    z[b,k] = s[b,k] - seen[k]
L[b] = logsumexp[k](s[b,k]) - s[b,label[b]]
loss cost = mean[b](L[b]) trains W
metric accuracy = mean[b](argmax[k](s[b,k]) == label[b])
output s
""",
    "a pattern": """\
Given input[20]
layer FC(L[b, i], width J):
    param W[I, J] ~ normal(0, 0.1)
    return[b,j] = W[I,j] * L[b,I]
N = 2
s = input -> [FC(width [16, 12]) -> relu]*N -> tanh?(N > 1) -> FC(width 4)
t[b,j in 0..3] = cut(s, j: 1)[b, j] if N == 2 else s[b,j]
q[b,j in 0..3] = s[b,j] * t[b,j] // 2 + exp(-s[b,j])
""",
    "windows": """\
Given L[9, 9, 2], V[4] without batch
param F[3, 3, 2, 5] : float32 untrained
require size(L, 1) >= 3, "the image is smaller than the window"
A[b,x,y,j] = F[ΔX,ΔY,I,j] * pad(L, 1)[b, x + ΔX, y + ΔY, I]
Q[b,x,y,j] = max[Δx in 0..3, Δy in 0..3](skip(A, 1)[b, 3*x + Δx, 3*y + Δy, j])
G[b,x,(y,j)] = Q[b,x,y,j]
N[b,i] = V[J] V[J] * sqrt(G[b, X, i]^2 * G[b, X, i])
H[b,x,y,J0+J1] = L[b,x,y,J0] ; A[b, x // 2, ⌊y Y/Y⌋, J1]
""",
}
"""Name -> text; each is accepted as it stands."""


def all_programs() -> dict[str, str]:
    """`PROGRAMS` and those examples of the repository that stand by themselves."""
    found = dict(PROGRAMS)
    for path in sorted((_ROOT / "examples").glob("*.maj")):
        text = path.read_text(encoding="utf-8")
        if "\nimport " not in text:
            found[str(path.relative_to(_ROOT))] = text
    return found
