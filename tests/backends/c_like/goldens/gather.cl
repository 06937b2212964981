#pragma OPENCL FP_CONTRACT OFF
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef unsigned char u8;
typedef unsigned int u32;
typedef float f32;
typedef long i64;
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
static inline void ADD_F32(volatile __global f32 *p, f32 x) {
  u32 old, seen = as_uint(*p);
  do {
    old = seen;
    seen = atomic_cmpxchg((volatile __global u32 *)p, old, as_uint(as_float(old) + x));
  } while (seen != old);
}

KERNEL(64) kernel0(GLOBAL i64 *b0, const i64 o0, const i32 w0, GLOBAL i32 *fault) {
  b0 += o0;
  i32 row = (i32)GROUP * 64 + ITEM;
  if (row >= w0) return;
  const i64 v0 = b0[row];
  const bool v1 = v0 < (-I64(50));
  const bool v2 = I64(50) <= v0;
  const bool v3 = v1 || v2;
  if (v3) *fault = 1;
}

KERNEL(64) kernel1(GLOBAL i64 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, GLOBAL f32 *b2, const i64 o2, const i64 w0, const i64 w1, const i64 w2, const i64 w3, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  b2 += o2;
  i64 row = (i64)GROUP * 64 + ITEM;
  if (row >= w0 || *fault) return;
  const i64 v0 = row % w1;
  const i64 v1 = row / w1;
  const i64 v2 = v1 * w2;
  const i64 v3 = v2 + v0;
  const i64 v4 = b0[v1];
  const bool v5 = v4 < I64(0);
  const i64 v6 = (i64)((u64)v4 + (u64)I64(50));
  const i64 v7 = v5 ? v6 : v4;
  const f32 v8 = b1[v0 + (i64)v7 * w3];
  b2[v3] = v8;
}
