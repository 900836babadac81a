// Applies a change to rows of a photograph. docs/applying.md describes the buffers; oracle.py has the formula.
// The functions are those of apply.wgsl, line by line. A C++ compiler takes all but the kernel at the end.

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#include <algorithm>
#include <cmath>
using std::exp2;
using std::floor;
using std::max;
using std::min;
using std::pow;
#endif

typedef unsigned int uint;

struct vec3f {
    float x, y, z;
    HOST_DEVICE vec3f(float r, float g, float b) : x(r), y(g), z(b) {}
};

HOST_DEVICE inline float clamp(float x, float low, float high) {
    return min(max(x, low), high);
}

HOST_DEVICE inline float mix(float a, float b, float share) {
    return a + (b - a) * share;
}

struct Frame {
    uint width;
    uint height;
    uint top;
    uint rows;
    uint maps_width;
    uint maps_height;
    uint remainder_width;
    uint remainder_height;
    float strength;
    float exposure;
    uint unused_0;
    uint unused_1;
};

// Four neighbours of a pixel in a plane, as offsets, and the shares of the right and of the lower ones
struct Place {
    uint upper_left;
    uint upper_right;
    uint lower_left;
    uint lower_right;
    float across;
    float down;
};

struct Applier {
    Frame frame;
    const float* change;

    HOST_DEVICE float curved(float x) const {
        float v = clamp((x - change[0]) * change[1], 0.0f, 1.0f);
        for (uint i = 2u; i < 8u; i += 1u) {
            v = v + change[i] * v * (1.0f - v);
        }
        v = v + change[8] * v * (1.0f - v) * (2.0f * v - 1.0f);
        return v + change[9] * (1.0f - v);
    }

    HOST_DEVICE vec3f toned(vec3f x) const {
        const vec3f v = vec3f(curved(x.x), curved(x.y), curved(x.z));
        const float luma = 0.299f * v.x + 0.587f * v.y + 0.114f * v.z;
        const float red = clamp((v.x + change[10] * (v.x - luma)) * change[11], 0.0f, 1.0f);
        const float green = clamp((v.y + change[10] * (v.y - luma)) * change[12], 0.0f, 1.0f);
        const float blue = clamp((v.z + change[10] * (v.z - luma)) * change[13], 0.0f, 1.0f);
        return vec3f(mix(x.x, red, change[14]), mix(x.y, green, change[14]), mix(x.z, blue, change[14]));
    }

    HOST_DEVICE Place place(uint column, uint row, uint width, uint height) const {
        const float j = clamp((float(column) + 0.5f) * float(width) / float(frame.width) - 0.5f, 0.0f, float(width - 1u));
        const float i = clamp((float(row) + 0.5f) * float(height) / float(frame.height) - 0.5f, 0.0f, float(height - 1u));
        const uint left = uint(j);
        const uint right = min(left + 1u, width - 1u);
        const uint upper = uint(i) * width;
        const uint lower = min(uint(i) + 1u, height - 1u) * width;
        return Place{upper + left, upper + right, lower + left, lower + right, j - floor(j), i - floor(i)};
    }

    HOST_DEVICE float value(uint plane, Place p) const {
        const float upper = mix(change[plane + p.upper_left], change[plane + p.upper_right], p.across);
        const float lower = mix(change[plane + p.lower_left], change[plane + p.lower_right], p.across);
        return mix(upper, lower, p.down);
    }

    HOST_DEVICE float affine(uint row, uint size, Place p, vec3f t) const {
        const float change_of_colour = value(row, p) * t.x + value(row + size, p) * t.y + value(row + 2u * size, p) * t.z;
        return change_of_colour + value(row + 3u * size, p);
    }

    HOST_DEVICE vec3f enhanced(vec3f x, uint column, uint row) const {
        const vec3f t = toned(x);
        vec3f e = t;
        const uint size = frame.maps_width * frame.maps_height;
        if (size > 0u) {
            const Place p = place(column, row, frame.maps_width, frame.maps_height);
            e.x += affine(16u, size, p, t);
            e.y += affine(16u + 4u * size, size, p, t);
            e.z += affine(16u + 8u * size, size, p, t);
        }
        const uint left = frame.remainder_width * frame.remainder_height;
        if (left > 0u) {
            const Place p = place(column, row, frame.remainder_width, frame.remainder_height);
            e.x += value(16u + 12u * size, p);
            e.y += value(16u + 12u * size + left, p);
            e.z += value(16u + 12u * size + 2u * left, p);
        }
        return e;
    }

    HOST_DEVICE float exposed(float code) const {
        const float y = max(code, 0.0f);
        if (frame.exposure == 0.0f) {
            return y;
        }
        float light = y / 12.92f;
        if (y > 0.04045f) {
            light = pow((y + 0.055f) / 1.055f, 2.4f);
        }
        light = exp2(frame.exposure) * light;
        if (light > 0.04045f / 12.92f) {
            return 1.055f * pow(light, 1.0f / 2.4f) - 0.055f;
        }
        return 12.92f * light;
    }

    HOST_DEVICE uint rounded(float x, float e) const {
        const float y = exposed(x + frame.strength * (clamp(e, 0.0f, 1.0f) - x));
        return uint(floor(255.0f * clamp(y, 0.0f, 1.0f) + 0.5f));
    }

    HOST_DEVICE uint changed(uint pixel, uint column, uint row) const {
        const float red = float(pixel & 255u) / 255.0f;
        const float green = float((pixel >> 8u) & 255u) / 255.0f;
        const float blue = float((pixel >> 16u) & 255u) / 255.0f;
        const vec3f e = enhanced(vec3f(red, green, blue), column, row);
        return rounded(red, e.x) | (rounded(green, e.y) << 8u) | (rounded(blue, e.z) << 16u) | (pixel & 0xff000000u);
    }
};

#ifdef __CUDACC__
extern "C" __global__ void apply(Frame frame, const float* change, const uint* photograph, uint* result) {
    const uint column = blockIdx.x * blockDim.x + threadIdx.x;
    const uint row = blockIdx.y * blockDim.y + threadIdx.y;
    if (column >= frame.width || row >= frame.rows) {
        return;
    }
    const Applier applier = {frame, change};
    const size_t index = size_t(row) * frame.width + column;
    result[index] = applier.changed(photograph[index], column, frame.top + row);
}
#endif
