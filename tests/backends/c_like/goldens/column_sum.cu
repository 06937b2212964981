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
#define BARRIER_GLOBAL __syncthreads()
#define BITS_F32(x) __float_as_int(x)
#define F32_BITS(x) __int_as_float(x)
#define ADD_I32(p, x) atomicAdd(p, x)
#define ADD_F32(p, x) atomicAdd(p, x)
#define ADD_I64(p, x) atomicAdd((u64 *)(p), (u64)(x))

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
