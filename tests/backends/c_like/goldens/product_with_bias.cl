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

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, GLOBAL f32 *b2, const i64 o2, GLOBAL f32 *b3, const i64 o3, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, const i32 w5, const i32 w6, const i32 w7, const i32 w8, const i32 w9, const i32 w10, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  b2 += o2;
  b3 += o3;
  LOCAL f32 a[1088];
  LOCAL f32 b[576];
  const bool live = !*fault;
  const i32 c0 = (i32)GROUP % w6 * 32;
  const i32 v0 = (i32)GROUP / w6;
  const i32 r0 = v0 % w7 * 64;
  const i32 v1 = v0 / w7;
  const i32 v2 = w8 - r0;
  const i32 rows = v2 < 64 ? v2 : 64;
  const i32 v3 = w9 - c0;
  const i32 columns = v3 < 32 ? v3 : 32;
  f32 t[8][4];
  #pragma unroll
  for (i32 i = 0; i < 8; ++i) {
    #pragma unroll
    for (i32 j = 0; j < 4; ++j) {
      t[i][j] = 0;
    }
  }
  for (i32 k0 = 0; k0 < (live ? w10 : 0); k0 += 16) {
    const i32 v4 = w10 - k0;
    const i32 steps = v4 < 16 ? v4 : 16;
    for (i32 u = ITEM / 16; u < rows; u += 4) {
      for (i32 k = ITEM % 16; k < steps; k += 16) {
        const i32 v5 = r0 + u;
        const i32 v6 = v5 * w3;
        const i32 v7 = k0 + k;
        const i32 v8 = v6 + v7;
        const f32 v9 = b0[v8];
        a[k * 68 + u] = (f32)v9;
      }
    }
    for (i32 u = ITEM / 16; u < columns; u += 4) {
      for (i32 k = ITEM % 16; k < steps; k += 16) {
        const i32 v10 = c0 + u;
        const i32 v11 = v10 * w4;
        const i32 v12 = k0 + k;
        const i32 v13 = v11 + v12;
        const f32 v14 = b1[v13];
        b[k * 36 + u] = (f32)v14;
      }
    }
    BARRIER;
    for (i32 k = 0; k < steps; ++k) {
      f32 y[4];
      #pragma unroll
      for (i32 j = 0; j < 4; ++j) {
        y[j] = b[k * 36 + ITEM % 8 + j * 8];
      }
      #pragma unroll
      for (i32 i = 0; i < 8; ++i) {
        const f32 x = (f32)(a[k * 68 + ITEM / 8 + i * 8]);
        #pragma unroll
        for (i32 j = 0; j < 4; ++j) {
          t[i][j] = fma(x, y[j], t[i][j]);
        }
      }
    }
    BARRIER;
  }
  #pragma unroll
  for (i32 i = 0; i < 8; ++i) {
    const i32 r = ITEM / 8 + i * 8;
    if (live && r < rows) {
      const i32 v15 = r0 + r;
      const i32 v16 = v15 * w5;
      #pragma unroll
      for (i32 j = 0; j < 4; ++j) {
        const i32 c = ITEM % 8 + j * 8;
        if (c < columns) {
          const i32 v17 = c0 + c;
          const i32 v18 = v17;
          const i32 v19 = v16 + v17;
          const f32 v20 = t[i][j];
          const f32 v21 = b3[v18];
          const f32 v22 = v20 + v21;
          b2[v19] = v22;
        }
      }
    }
  }
}
