"""The first lines of a text: what OpenCL C and CUDA C call the same things, under the names that everything below uses.

Types are `i8` to `i64`, `u8`, `u32`, `u64`, `f32`, `f64`; a bool in memory is a `u8`, a half is its bits (`i16`).
`KERNEL(n)` begins a kernel whose groups have n items; `ITEM` and `GROUP` are their numbers; `LOCAL` memory belongs to a group,
and `BARRIER` lets all items of it meet, `BARRIER_GLOBAL` also before one of them writes what all have read in global memory.
`ADD_F32` and `ADD_I32`, with `Target.wide_atomics` also `ADD_F64` and `ADD_I64`, add to an element that other items add to as
well; CUDA takes float32 that are subnormal there for 0. Texts contract no product with a sum unless they say `fma`.
Only OpenCL C has vectors, `f32x2` to `f32x16`, and those of `f64`, `u32` and `u64`: texts for cards have none.
"""

from __future__ import annotations

from dataclasses import dataclass

_COMMON = """\
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef unsigned char u8;
typedef unsigned int u32;
typedef float f32;
"""

_OPENCL = """\
#pragma OPENCL FP_CONTRACT OFF
{common}typedef long i64;
typedef ulong u64;
typedef float2 f32x2;
typedef float4 f32x4;
typedef float8 f32x8;
typedef float16 f32x16;
typedef uint2 u32x2;
typedef uint4 u32x4;
typedef uint8 u32x8;
typedef uint16 u32x16;
typedef ulong2 u64x2;
typedef ulong4 u64x4;
typedef ulong8 u64x8;
typedef ulong16 u64x16;
#define I64(x) x##L
#define KERNEL(n) __kernel __attribute__((reqd_work_group_size(n, 1, 1))) void
#define GLOBAL __global
#define LOCAL __local
#define TABLE __constant
#define FUNCTION static inline
#define ITEM (int)get_local_id(0)
#define GROUP get_group_id(0)
#define GROUP_Y get_group_id(1)
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#define BARRIER_GLOBAL barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define BITS_F32(x) as_int(x)
#define F32_BITS(x) as_float(x)
#define ADD_I32(p, x) atomic_add((volatile __global i32 *)(p), x)
#ifdef cl_khr_int64_base_atomics
#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable
#define ADD_I64(p, x) atom_add((volatile __global i64 *)(p), x)
#endif
static inline void ADD_F32(volatile __global f32 *p, f32 x) {{
  u32 old, seen = as_uint(*p);
  do {{
    old = seen;
    seen = atomic_cmpxchg((volatile __global u32 *)p, old, as_uint(as_float(old) + x));
  }} while (seen != old);
}}
"""

_OPENCL_DOUBLE = """\
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
typedef double f64;
typedef double2 f64x2;
typedef double4 f64x4;
typedef double8 f64x8;
typedef double16 f64x16;
#define BITS_F64(x) as_long(x)
#define F64_BITS(x) as_double(x)
#ifdef cl_khr_int64_base_atomics
static inline void ADD_F64(volatile __global f64 *p, f64 x) {
  u64 old, seen = as_ulong(*p);
  do {
    old = seen;
    seen = atom_cmpxchg((volatile __global u64 *)p, old, as_ulong(as_double(old) + x));
  } while (seen != old);
}
#endif
"""

_CUDA = """\
{common}typedef long long i64;
typedef unsigned long long u64;
#define I64(x) x##LL
#define KERNEL(n) extern "C" __global__ __launch_bounds__(n) void
#define GLOBAL
#define LOCAL __shared__
#define TABLE static __constant__ const
#define FUNCTION static __device__ __forceinline__
#define ITEM (int)threadIdx.x
#define GROUP blockIdx.x
#define GROUP_Y blockIdx.y
#define BARRIER __syncthreads()
#define BARRIER_GLOBAL __syncthreads()
#define BITS_F32(x) __float_as_int(x)
#define F32_BITS(x) __int_as_float(x)
#define ADD_I32(p, x) atomicAdd(p, x)
#define ADD_F32(p, x) atomicAdd(p, x)
#define ADD_I64(p, x) atomicAdd((u64 *)(p), (u64)(x))
"""

_CUDA_DOUBLE = """\
typedef double f64;
#define BITS_F64(x) __double_as_longlong(x)
#define F64_BITS(x) __longlong_as_double(x)
#define ADD_F64(p, x) atomicAdd(p, x)
"""


@dataclass(frozen=True)
class Dialect:
    """A language: its name, its head, and what the head has besides where float64 is used."""

    name: str
    head: str
    double: str


OPENCL = Dialect("OpenCL C", _OPENCL.format(common=_COMMON), _OPENCL_DOUBLE)
CUDA = Dialect("CUDA C", _CUDA.format(common=_COMMON), _CUDA_DOUBLE)
