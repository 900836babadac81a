// Applies a change to rows of a photograph. docs/applying.md describes the buffers; oracle.py has the formula.
// The functions are those of apply.metal and apply.cu, line by line.

struct Frame {
    width: u32,
    height: u32,
    top: u32,
    rows: u32,
    maps_width: u32,
    maps_height: u32,
    remainder_width: u32,
    remainder_height: u32,
    strength: f32,
    exposure: f32,
    unused_0: u32,
    unused_1: u32,
}

// Four neighbours of a pixel in a plane, as offsets, and the shares of the right and of the lower ones
struct Place {
    upper_left: u32,
    upper_right: u32,
    lower_left: u32,
    lower_right: u32,
    across: f32,
    down: f32,
}

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> change: array<f32>;
@group(0) @binding(2) var<storage, read> photograph: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

fn curved(x: f32) -> f32 {
    var v: f32 = clamp((x - change[0]) * change[1], 0.0, 1.0);
    for (var i: u32 = 2u; i < 8u; i += 1u) {
        v = v + change[i] * v * (1.0 - v);
    }
    v = v + change[8] * v * (1.0 - v) * (2.0 * v - 1.0);
    return v + change[9] * (1.0 - v);
}

fn toned(x: vec3f) -> vec3f {
    let v: vec3f = vec3f(curved(x.x), curved(x.y), curved(x.z));
    let luma: f32 = 0.299 * v.x + 0.587 * v.y + 0.114 * v.z;
    let red: f32 = clamp((v.x + change[10] * (v.x - luma)) * change[11], 0.0, 1.0);
    let green: f32 = clamp((v.y + change[10] * (v.y - luma)) * change[12], 0.0, 1.0);
    let blue: f32 = clamp((v.z + change[10] * (v.z - luma)) * change[13], 0.0, 1.0);
    return vec3f(mix(x.x, red, change[14]), mix(x.y, green, change[14]), mix(x.z, blue, change[14]));
}

fn place(column: u32, row: u32, width: u32, height: u32) -> Place {
    let j: f32 = clamp((f32(column) + 0.5) * f32(width) / f32(frame.width) - 0.5, 0.0, f32(width - 1u));
    let i: f32 = clamp((f32(row) + 0.5) * f32(height) / f32(frame.height) - 0.5, 0.0, f32(height - 1u));
    let left: u32 = u32(j);
    let right: u32 = min(left + 1u, width - 1u);
    let upper: u32 = u32(i) * width;
    let lower: u32 = min(u32(i) + 1u, height - 1u) * width;
    return Place(upper + left, upper + right, lower + left, lower + right, j - floor(j), i - floor(i));
}

fn value(plane: u32, p: Place) -> f32 {
    let upper: f32 = mix(change[plane + p.upper_left], change[plane + p.upper_right], p.across);
    let lower: f32 = mix(change[plane + p.lower_left], change[plane + p.lower_right], p.across);
    return mix(upper, lower, p.down);
}

fn affine(row: u32, size: u32, p: Place, t: vec3f) -> f32 {
    let change_of_colour: f32 = value(row, p) * t.x + value(row + size, p) * t.y + value(row + 2u * size, p) * t.z;
    return change_of_colour + value(row + 3u * size, p);
}

fn enhanced(x: vec3f, column: u32, row: u32) -> vec3f {
    let t: vec3f = toned(x);
    var e: vec3f = t;
    let size: u32 = frame.maps_width * frame.maps_height;
    if (size > 0u) {
        let p: Place = place(column, row, frame.maps_width, frame.maps_height);
        e.x += affine(16u, size, p, t);
        e.y += affine(16u + 4u * size, size, p, t);
        e.z += affine(16u + 8u * size, size, p, t);
    }
    let left: u32 = frame.remainder_width * frame.remainder_height;
    if (left > 0u) {
        let p: Place = place(column, row, frame.remainder_width, frame.remainder_height);
        e.x += value(16u + 12u * size, p);
        e.y += value(16u + 12u * size + left, p);
        e.z += value(16u + 12u * size + 2u * left, p);
    }
    return e;
}

fn exposed(code: f32) -> f32 {
    let y: f32 = max(code, 0.0);
    if (frame.exposure == 0.0) {
        return y;
    }
    var light: f32 = y / 12.92;
    if (y > 0.04045) {
        light = pow((y + 0.055) / 1.055, 2.4);
    }
    light = exp2(frame.exposure) * light;
    if (light > 0.04045 / 12.92) {
        return 1.055 * pow(light, 1.0 / 2.4) - 0.055;
    }
    return 12.92 * light;
}

fn rounded(x: f32, e: f32) -> u32 {
    let y: f32 = exposed(x + frame.strength * (clamp(e, 0.0, 1.0) - x));
    return u32(floor(255.0 * clamp(y, 0.0, 1.0) + 0.5));
}

fn changed(pixel: u32, column: u32, row: u32) -> u32 {
    let red: f32 = f32(pixel & 255u) / 255.0;
    let green: f32 = f32((pixel >> 8u) & 255u) / 255.0;
    let blue: f32 = f32((pixel >> 16u) & 255u) / 255.0;
    let e: vec3f = enhanced(vec3f(red, green, blue), column, row);
    return rounded(red, e.x) | (rounded(green, e.y) << 8u) | (rounded(blue, e.z) << 16u) | (pixel & 0xff000000u);
}

@compute @workgroup_size(16, 16)
fn apply(@builtin(global_invocation_id) at: vec3u) {
    if (at.x >= frame.width || at.y >= frame.rows) {
        return;
    }
    let index: u32 = at.y * frame.width + at.x;
    result[index] = changed(photograph[index], at.x, frame.top + at.y);
}
