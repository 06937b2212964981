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

FUNCTION f32 largest_f32(const f32 x0, const f32 x1) {
  const bool v0 = x0 != x0;
  const bool v1 = x1 < x0;
  const bool v2 = v0 || v1;
  const f32 v3 = v2 ? x0 : x1;
  return v3;
}

FUNCTION f32 scale_f32(const f32 x0, const f32 x1) {
  const f32 v0 = x1 + (0x1.8000000000000p+23f);
  const i32 v1 = BITS_F32(v0);
  const i32 v2 = (i32)(v1 >> 1);
  const i32 v3 = (i32)((u32)v2 + (u32)127);
  const i32 v4 = (i32)((u32)v3 << 23);
  const f32 v5 = F32_BITS(v4);
  const f32 v6 = x0 * v5;
  const i32 v7 = (i32)((u32)v1 - (u32)v2);
  const i32 v8 = (i32)((u32)v7 + (u32)127);
  const i32 v9 = (i32)((u32)v8 << 23);
  const f32 v10 = F32_BITS(v9);
  const f32 v11 = v6 * v10;
  return v11;
}

FUNCTION f32 exp_f32(const f32 x0) {
  const bool v0 = (0x1.6400000000000p+6f) < x0;
  const f32 v1 = v0 ? (0x1.6400000000000p+6f) : x0;
  const bool v2 = v1 < (-0x1.a000000000000p+6f);
  const f32 v3 = v2 ? (-0x1.a000000000000p+6f) : v1;
  const f32 v4 = fma(v3, (0x1.7154760000000p+0f), (0x1.8000000000000p+23f));
  const f32 v5 = v4 - (0x1.8000000000000p+23f);
  const f32 v6 = fma(v5, (-0x1.62e4300000000p-1f), v3);
  const f32 v7 = fma(v5, (0x1.05c6100000000p-29f), v6);
  const f32 v8 = v7 * v7;
  const f32 v9 = fma((0x1.6ab4b40000000p-10f), v7, (0x1.123d480000000p-7f));
  const f32 v10 = fma(v9, v7, (0x1.55585a0000000p-5f));
  const f32 v11 = fma(v10, v7, (0x1.55548c0000000p-3f));
  const f32 v12 = fma(v11, v7, (0x1.fffffc0000000p-2f));
  const f32 v13 = fma(v8, v12, v7);
  const f32 v14 = v13 + (0x1.0000000000000p+0f);
  const f32 v15 = scale_f32(v14, v5);
  return v15;
}

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, const i32 w5, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  i32 row = (i32)GROUP * 1 + 0;
  const i32 slice = ITEM / 1;
  const bool live = row < w0 && !*fault;
  row = live ? row : 0;
  const i32 v0 = row * w4;
  const i32 v1 = row * w5;
  f32 k1[2];
  f32 v2 = F32_BITS((-8388608));
  for (i32 j = slice, n = live ? w1 : 0, q = 0; j < n; j += 64, ++q) {
    const i32 v3 = v0 + j;
    const i32 v4 = v1 + j;
    const f32 v5 = b0[v3];
    const f32 v6 = largest_f32(v2, v5);
    v2 = v6;
  }
  LOCAL f32 v7[64];
  v7[ITEM] = v2;
  BARRIER;
  for (int span = 32; span > 0; span /= 2) {
    if (slice < span) {
      const f32 v8 = v7[ITEM + span * 1];
      const f32 v9 = largest_f32(v2, v8);
      v2 = v9;
      v7[ITEM] = v2;
    }
    BARRIER;
  }
  v2 = v7[0];
  f32 v10 = (0x0.0p+0f);
  for (i32 j = slice, n = live ? w1 : 0, q = 0; j < n; j += 64, ++q) {
    const i32 v11 = v0 + j;
    const i32 v12 = v1 + j;
    const f32 v13 = b0[v11];
    const f32 v14 = v13 - v2;
    const f32 v15 = exp_f32(v14);
    k1[q] = v15;
    const f32 v16 = v10 + v15;
    v10 = v16;
  }
  BARRIER;
  v7[ITEM] = v10;
  BARRIER;
  for (int span = 32; span > 0; span /= 2) {
    if (slice < span) {
      const f32 v17 = v7[ITEM + span * 1];
      const f32 v18 = v10 + v17;
      v10 = v18;
      v7[ITEM] = v10;
    }
    BARRIER;
  }
  v10 = v7[0];
  for (i32 j = slice, n = live ? w1 : 0, q = 0; j < n; j += 64, ++q) {
    const i32 v19 = v0 + j;
    const i32 v20 = v1 + j;
    const f32 v21 = k1[q];
    const f32 v22 = v21 / v10;
    b1[v20] = v22;
  }
}
