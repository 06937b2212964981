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

FUNCTION i16 float16_bits_f32(const f32 x0) {
  const f32 v0 = fabs(x0);
  const i32 v1 = BITS_F32(v0);
  const bool v2 = v1 < 1199566848;
  const bool v3 = v1 < 947912704;
  const f32 v4 = v0 + (0x1.0000000000000p-1f);
  const i32 v5 = BITS_F32(v4);
  const i32 v6 = BITS_F32((0x1.0000000000000p-1f));
  const i32 v7 = (i32)((u32)v5 - (u32)v6);
  const i32 v8 = (i32)((u32)v1 + (u32)4095);
  const i32 v9 = (i32)(v1 >> 13);
  const i32 v10 = (i32)((u32)v9 & (u32)1);
  const i32 v11 = (i32)((u32)v8 + (u32)v10);
  const i32 v12 = (i32)((u32)v11 - (u32)939524096);
  const i32 v13 = (i32)(v12 >> 13);
  const i32 v14 = v3 ? v7 : v13;
  const bool v15 = 2139095040 < v1;
  const i32 v16 = (i32)((u32)v9 & (u32)1023);
  const i32 v17 = (i32)((u32)32256 | (u32)v16);
  const i32 v18 = v15 ? v17 : 31744;
  const i32 v19 = v2 ? v14 : v18;
  const i32 v20 = BITS_F32(x0);
  const i32 v21 = (i32)(v20 >> 16);
  const i32 v22 = (i32)((u32)v21 & (u32)32768);
  const i32 v23 = (i32)((u32)v19 | (u32)v22);
  const i16 v24 = (i16)v23;
  return v24;
}

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, GLOBAL f64 *b2, const i64 o2, GLOBAL f32 *b3, const i64 o3, GLOBAL u8 *b4, const i64 o4, GLOBAL i16 *b5, const i64 o5, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, const i32 w5, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  b2 += o2;
  b3 += o3;
  b4 += o4;
  b5 += o5;
  i32 row = (i32)GROUP * 64 + ITEM;
  if (row >= w0 || *fault) return;
  const i32 v0 = row % w1;
  const i32 v1 = row / w1;
  const i32 v2 = v1 * w2;
  const i32 v3 = v1 * w3;
  const i32 v4 = v1 * w4;
  const i32 v5 = v1 * w5;
  const i32 v6 = v2 + v0;
  const i32 v7 = v3 + v0;
  const i32 v8 = v4 + v0;
  const i32 v9 = v5 + v0;
  const f32 v10 = b0[v6];
  const f32 v11 = v10 * (0x1.0000000000000p+1f);
  const f32 v12 = b1[v0];
  const f32 v13 = v11 + v12;
  const bool v14 = v13 <= (0x0.0p+0f);
  const f32 v15 = v14 ? (0x0.0p+0f) : v13;
  const f64 v16 = b2[0];
  const f32 v17 = (f32)v16;
  const f32 v18 = v15 - v17;
  const bool v19 = v10 < v18;
  const i16 v20 = float16_bits_f32(v18);
  b3[v7] = v18;
  b4[v8] = (u8)v19;
  b5[v9] = v20;
}
