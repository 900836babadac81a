#if canImport(CoreImage)
import BNCAGANCore
import CoreImage
import Foundation

/// Applies what the network says of a small copy to a photograph of any size: the tone, the maps, and the settings.
/// Not run: this file needs Apple's frameworks.
///
/// One Core Image kernel on the GPU, in sRGB codes. Core Image interpolates the maps between the centres of their
/// windows, as docs of the maps ask; values of `BNCAGANCore.Tone` and `Maps` are the reference.
public struct Applier {
    private let kernel: CIColorKernel

    public init() throws {
        let kernels = try CIKernel.kernels(withMetalString: Self.source)
        guard let kernel = kernels.first as? CIColorKernel else {
            throw Failure("Core Image should compile the applier's kernel but made none; update the system")
        }
        self.kernel = kernel
    }

    /// The photograph with the change. `photo` has its origin at 0; without maps the tone is all there is.
    public func applied(to photo: CIImage, tone: Tone, maps: Maps?, settings: Settings) throws -> CIImage {
        let maps = try maps ?? Maps(height: 1, width: 1, values: [Float](repeating: 0, count: 12))
        let rows = (0..<3).map { Self.image(of: maps, row: $0, over: photo.extent) }
        let t = tone.numbers.map { CGFloat($0) }
        let vectors = stride(from: 0, to: 16, by: 4).map {
            CIVector(x: t[$0], y: t[$0 + 1], z: t[$0 + 2], w: t[$0 + 3])
        }
        let controls = CIVector(x: CGFloat(settings.strength), y: CGFloat(settings.exposure))
        guard let made = kernel.apply(extent: photo.extent, arguments: [photo] + rows + vectors + [controls]) else {
            throw Failure("Core Image should apply the change but refused; take a smaller photograph")
        }
        return made
    }

    /// One row of (A | b) as red, green, blue and alpha of an image that covers the photograph.
    private static func image(of maps: Maps, row: Int, over extent: CGRect) -> CIImage {
        let windows = maps.height * maps.width
        var pixels = [Float](repeating: 0, count: 4 * windows)
        for window in 0..<windows {
            for column in 0..<4 { pixels[4 * window + column] = maps.values[(4 * row + column) * windows + window] }
        }
        let data = pixels.withUnsafeBytes { Data($0) }
        let size = CGSize(width: maps.width, height: maps.height)
        let image = CIImage(
            bitmapData: data, bytesPerRow: 16 * maps.width, size: size, format: .RGBAf, colorSpace: nil)
        let scale = CGAffineTransform(scaleX: extent.width / size.width, y: extent.height / size.height)
        return image.samplingLinear().clampedToExtent().transformed(by: scale).cropped(to: extent)
    }

    private static let source = """
        #include <CoreImage/CoreImage.h>
        using namespace metal;

        static float light(float code) {
            return code > 0.04045f ? pow((code + 0.055f) / 1.055f, 2.4f) : code / 12.92f;
        }

        static float code(float light) {
            return light > 0.04045f / 12.92f ? 1.055f * pow(light, 1 / 2.4f) - 0.055f : 12.92f * light;
        }

        [[ stitchable ]] float4 enhanced(
            coreimage::sample_t photo, coreimage::sample_t red, coreimage::sample_t green, coreimage::sample_t blue,
            float4 t0, float4 t1, float4 t2, float4 t3, float2 controls
        ) {
            // t0: B G a1 a2; t1: a3 a4 a5 a6; t2: s l k red; t3: green blue share 0
            float3 x = photo.rgb;
            float3 start = clamp((x - t0.x) * t0.y, 0.0f, 1.0f);
            float steps[6] = {t0.z, t0.w, t1.x, t1.y, t1.z, t1.w};
            float3 added = 0, v = start;
            for (int i = 0; i < 6; i++) {
                added += steps[i] * v * (1 - v);
                v = start + added;
            }
            added += t2.x * v * (1 - v) * (2 * v - 1);
            v = start + added;
            v = start + (added + t2.y * (1 - v));
            v += (v - dot(v, float3(0.299f, 0.587f, 0.114f))) * t2.z;
            v = clamp(v * float3(t2.w, t3.x, t3.y), 0.0f, 1.0f);
            float3 t = x + t3.z * (v - x);
            float4 t_1 = float4(t, 1);
            float3 e = clamp(t + float3(dot(red, t_1), dot(green, t_1), dot(blue, t_1)), 0.0f, 1.0f);
            float3 y = max(controls.x * e + (1 - controls.x) * x, 0.0f);
            if (controls.y != 0) {
                float gain = exp2(controls.y);
                y = float3(code(gain * light(y.r)), code(gain * light(y.g)), code(gain * light(y.b)));
            }
            return float4(min(y, 1.0f), photo.a);
        }
        """
}
#endif
