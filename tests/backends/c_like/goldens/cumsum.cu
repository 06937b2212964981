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

KERNEL(64) kernel0(GLOBAL f32 *b0, const i64 o0, GLOBAL f32 *b1, const i64 o1, const i32 w0, const i32 w1, const i32 w2, const i32 w3, const i32 w4, const i32 w5, GLOBAL i32 *fault) {
  b0 += o0;
  b1 += o1;
  i32 row = (i32)GROUP * 64 + ITEM;
  if (row >= w0 || *fault) return;
  const i32 v0 = row * w4;
  const i32 v1 = row * w5;
  f32 v2 = (0x0.0p+0f);
  for (i32 c1 = 0; c1 < w3; ++c1) {
    const i32 v3 = v0 + c1;
    const i32 v4 = v1 + c1;
    const f32 v5 = b0[v3];
    const f32 v6 = v2 + v5;
    v2 = v6;
    b1[v4] = v6;
  }
}
