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
