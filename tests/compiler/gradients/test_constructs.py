"""Gradients of one construct of the language after the other, against central differences."""

from __future__ import annotations

import pytest
from differences import assert_gradients, program_of
from levels import sparse
from reading_back import assert_prints

EQUATIONS = {
    "a layer": """
Given x[5], y[3]
param W[5, 3]
param B[3]
h[b,j] = tanh(W[I,j]*x[b,I] - B[j])
loss J = mean[b,j]((h[b,j]-y[b,j])^2)
""",
    "logistic least squares": """
Given x[], y[]
param w[]
param b[]
q[n] = 1/(1+exp(-(w*x[n]+b)))
loss J = 1/2 * sum[n]((q[n]-y[n])^2)
""",
    "a diagonal": """
Given A[6, 6], v[6]
d[b,i] = A[b,i,i]*v[b,i]
t[b] = sum[i](A[b,i,i]^2)
output d, t
""",
    "one tensor at two offsets": """
Given x[10]
y[b,i in 0..9] = x[b,i]*x[b,i+1]
z[b,i] = x[b,2*i]*x[b,2*i+1]
output y, z
""",
    "strides and dilations": """
Given x[11]
param W[3]
y[b,i]=W[ΔX]*x[b,3*i+ΔX]
z[b,i]=W[ΔX]*x[b,2*i+2*ΔX]
u[b,i]=W[ΔX]*x[b,3*i+2*ΔX]
v[b,i]=W[ΔX]*x[b,2*i+3*ΔX]
output y,z,u,v
""",
    "maxima and minima": """
Given x[10]
y[b]=max[i](x[b,i])
z[b,i]=min[Δx in 0..3](x[b,2*i+Δx])
w[b,i]=max(0.1*x[b,i], x[b,i])
""",
    "products": """
Given x[4,3]
y[b,i]=prod[j](x[b,i,j])
z[b]=prod[i,j](x[b,i,j])
output y,z
""",
    "softmax": """
Given x[4]
p[b,i]=softmax[i](x[b,i])
q[b]=logsumexp[i](x[b,i])
output p,q
""",
    "gathers": """
Given t[T]: int64, l[]: int64
param E[10, 4]
e[b,t,j] = E[t[b,t],j]
s[b] = e[b,0,l[b]]
output e,s
""",
    "a concatenation": """
Given a[4,3], c[4,5]
L[b,x,J1+J2] = a[b,x,J1]; c[b,x,J2]
M[b,x,j] = L[b,x,j]*L[b,x,j]
""",
    "interleaved parts": """
Given x[5]
T[b,2*i]=x[b,i]^2
T[b,2*i+1]=-x[b,i]
U[b,i]=T[b,i]^2
""",
    "groups": """
Given L[8, 8, 6]
param V[3, 3, 3, 2, 4]
S[b,x,y,(g,j)] = V[ΔX,ΔY,I,g,j] * L[b,x+ΔX,y+ΔY,(g,I)]
G[b,x,y,j]=S[b,x,y,j]^2
""",
    "grouped and depthwise convolutions": """
Given L[6, 6, 6]
C = Conv(L, Φ1, width 3, groups 3, filters 6, pad 1)
D = Conv(C, Φ2, width 3, groups 6, filters 6, stride 2)
""",
    "floors": """
Given L[8,3]
u[b,x in 0..16] = L[b,x//2,0]
v[b,x in 0..11]=L[b,(x*8)//11,1]
w[b,x in 0..16]=L[b,(x+1)//3,2]*L[b,x//2,1]
output u,v,w
""",
    "fused axes": """
Given L[4,4,3]
param W[48,5]
F[b,j]=W[(X,Y,I),j]*L[b,X,Y,I]
V[b,(x,y,i)]=L[b,x,y,i]^2
U[b,j]=W[I,j]*V[b,I]
output F,U
""",
    "transposed": """
Given L[5,5,2]
C = ConvTranspose(L, Φ1, width 3, stride 2, pad 1, outpad 1, filters 3)
""",
    "edges": """
Given L[5,5,2]
P=pad(L, 2, mode reflect)
Q=pad(L,1,mode replicate)
R=pad(L,(1,2),mode circular)
param W[3]
S[b,x,y,i]=W[ΔX]*P[b,x+ΔX,y,i]
output S,Q,R
""",
    "pooling": """
Given L[7,7,2]
P=MaxPool(L,width 3,stride 2,pad 1)
Q=MeanPool(L,width 3, stride 2, pad 1)
R=MaxPool(L,width 3, stride 2, ceil true)
S=AdaptiveMeanPool(L,size (3,4))
output P,Q,R,S
""",
    "neighbouring channels": """
Given L[3,8]
R = LocalResponseNorm(L, size 3)
""",
    "activations": """
Given x[9]
a = elu(x, 1.5)
b_ = softplus(x)
c=silu(x)
d=gelu(x)
e=hard_swish(x)
f=leaky_relu(x,0.2)
g=relu6(3*x)
h=abs(x)^1.5
output a,b_,c,d,e,f,g,h
""",
    "scalar functions": """
Given x[4], y[4]
a = sqrt(abs(x)+1)/y
b_ = sin(x)*cos(y)
c = erf(x)*log(abs(y)+1)
d=(abs(x)+1)^y
e = x % (abs(y)+1)
f=tanh(x)*sigmoid(y)
g=exp(x)
output a,b_,c,d,e,f,g
""",
    "slices": """
Given x[12]
y[b,i in 0..4]=x[b,i+3]*x[b,2*i]
z[b,i in 0..3]=x[b,11-i]*x[b,4]
output y,z
""",
    "open sizes": """
Given x[T,3]
param W[2,3,2]
y[b,t,j]=W[ΔX,I,j]*x[b,t+ΔX,I]
z[b,t,j]=x[b,2*t,j]
q[b,j]=sum[t](x[b,t,j])/T
output y,z,q
""",
    "attention": """
Given x[T,6]
a = MultiHeadAttention(x, Φ1, heads 2, causal true)
""",
}

RECURRENCES = {
    "RNN": """
Given x[T, 5]
h = RNN(x, Φ1, units 4)
""",
    "LSTM": """
Given x[T, 5]
h, c = LSTM(x, Φ1, units 4)
output h
""",
    "LSTM with its cell": """
Given x[6, 5]
h, c = LSTM(x, Φ1, units 4)
output h, c
""",
    "GRU": """
Given x[T, 5]
h = GRU(x, Φ1, units 4)
loss J = sum[b,t,j](h[b,t,j]^2)
""",
    "backwards": """
Given x[T, 5], s[5]
n = size(x, T)
g[b,t,j] = sin(g[b,t+1,j]) * x[b,t,j]
g[b,n,j] = s[b,j]
""",
    "two steps back": """
Given x[T, 3], s[3]
param W[3,3]
h[b,t,j] = tanh(W[J,j]*h[b,t-1,J]) * h[b,t-2,j] + x[b,t,j]
h[b,-1,j] = s[b,j]
h[b,-2,j] = s[b,j]^2
""",
    "two tensors": """
Given x[T, 3], s[3]
param W[3,3]
a[b,t,j] = W[J,j]*c[b,t-1,J]+x[b,t,j]
c[b,t,j] = max[i](a[b,t,i])*a[b,t-1,j]
c[b,-1,j]=s[b,j]
a[b,-1,j]=x[b,0,j]
output c,a
""",
    "a start at 0": """
Given x[T, 3]
param W[3,3]
h[b,0,j] = x[b,0,j]
h[b,t,j] = tanh(W[J,j]*h[b,t-1,J]+x[b,t,j])
y[b,t]=sum[j](h[b,t,j]^2)
""",
    "a window over the state": """
Given x[T, 7]
param W[3]
a[b,t,i in 0..7] = sum[Δx in 0..3]({W[Δx]*h[b,t-1,i+Δx-1] if 0<=i+Δx-1 and i+Δx-1<7; 0 otherwise})
h[b,t,i] = tanh(a[b,t,i]) + x[b,t,i]
h[b,-1,i in 0..7]=0
""",
    "running products": """
Given x[T]
param W[3]
p[b,t]=p[b,t-1]*x[b,t]
p[b,-1]=1
""",
}


@pytest.mark.parametrize("text", EQUATIONS.values(), ids=EQUATIONS)
def test_equations(text: str) -> None:
    assert_gradients(text, sizes={"T": 5})


@pytest.mark.parametrize("text", sparse(RECURRENCES.values(), 2), ids=RECURRENCES)
def test_recurrences(text: str) -> None:
    assert_gradients(text, sizes={"T": 5}, tolerance=1e-5)


@pytest.mark.parametrize("text", {**EQUATIONS, **RECURRENCES}.values(), ids={**EQUATIONS, **RECURRENCES})
def test_printed_gradients_mean_the_same(text: str) -> None:
    assert_prints(program_of(text), sizes={"T": 5})
