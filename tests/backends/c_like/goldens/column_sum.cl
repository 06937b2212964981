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

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  i32 row = (i32)GROUP * 32 + ITEM % 32;
  const i32 slice = ITEM / 32;
  const bool live = row < w0 && !*fault;
  row = live ? row : 0;
  f32 v0 = (0x0.0p+0f);
  for (i32 j = slice, n = live ? w1 : 0; j < n; j += 2) {
    const i32 v1 = row + j * w4;
    const f32 v2 = b0[v1];
    const f32 v3 = v0 + v2;
    v0 = v3;
  }
  LOCAL f32 v4[64];
  v4[ITEM] = v0;
  BARRIER;
  for (int span = 1; span > 0; span /= 2) {
    if (slice < span) {
      const f32 v5 = v4[ITEM + span * 32];
      const f32 v6 = v0 + v5;
      v0 = v6;
      v4[ITEM] = v0;
    }
    BARRIER;
  }
  v0 = v4[ITEM % 32];
  if (live && slice == 0) {
    b1[row] = v0;
  }
}
