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
