typedef signed char i8;
typedef short i16;
typedef int i32;
typedef unsigned char u8;
typedef unsigned int u32;
typedef float f32;
typedef long long i64;
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
#define BITS_F32(x) __float_as_int(x)
#define F32_BITS(x) __int_as_float(x)

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, GLOBAL f32 *b2, const i64 o2, GLOBAL f32 *b3, const i64 o3, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, const i32 w5, const i32 w6, const i32 w7, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  b2 += o2;
  b3 += o3;
  i32 row = (i32)GROUP * 1 + 0;
  const i32 slice = ITEM / 1;
  const bool live = row < w0 && !*fault;
  row = live ? row : 0;
  const i32 v0 = row % w3;
  const i32 v1 = row / w3;
  const i32 v2 = v1 * w5;
  const i32 v3 = v1 * w7;
  const i32 v4 = v0 * w6;
  const i32 v5 = v3 + v0;
  f32 v6 = (0x0.0p+0f);
  for (i32 j = slice, n = live ? w1 : 0; j < n; j += 64) {
    const i32 v7 = v2 + j;
    const i32 v8 = v4 + j;
    const f32 v9 = b0[v7];
    const f32 v10 = b1[v8];
    const f32 v11 = v9 * v10;
    const f32 v12 = v6 + v11;
    v6 = v12;
  }
  LOCAL f32 v13[64];
  v13[ITEM] = v6;
  BARRIER;
  for (int span = 32; span > 0; span /= 2) {
    if (slice < span) {
      const f32 v14 = v13[ITEM + span * 1];
      const f32 v15 = v6 + v14;
      v6 = v15;
      v13[ITEM] = v6;
    }
    BARRIER;
  }
  v6 = v13[0];
  const f32 v16 = b3[v0];
  const f32 v17 = v6 + v16;
  if (live && slice == 0) {
    b2[v5] = v17;
  }
}
