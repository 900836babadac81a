import Foundation

/// Strength and exposure of a result, and the formula of `runtimes/controls.py`:
///
///     y = image + strength * (enhanced - image)
///     result = curve(2^exposure * light(y)), clamped to [0, 1]
///
/// `light` is the curve of sRGB from codes to linear light, and `curve` is its inverse.
public struct Settings: Equatable, Sendable {
    /// The share of the network's change, from 0 (the photograph itself) to 1.5.
    public let strength: Float
    /// Stops by which the result is made brighter, from -2 to 2.
    public let exposure: Float

    public init(strength: Float = 1, exposure: Float = 0) throws {
        guard (0...1.5).contains(strength), (-2...2).contains(exposure) else {
            throw Failure(
                "strength should be from 0 to 1.5 and exposure from -2 to 2 but they are \(strength) and \(exposure); "
                    + "choose others")
        }
        (self.strength, self.exposure) = (strength, exposure)
    }

    /// The result for one value of the photograph and of the network's answer, both in [0, 1].
    public func applied(image: Float, enhanced: Float) -> Float {
        guard strength != 1 || exposure != 0 else { return enhanced }
        let mixed = max(strength * enhanced + (1 - strength) * image, 0)
        guard exposure != 0 else { return min(mixed, 1) }
        return min(Self.code(ofLight: exp2(exposure) * Self.light(ofCode: mixed)), 1)
    }

    static func light(ofCode code: Float) -> Float {
        code > 0.04045 ? pow((code + 0.055) / 1.055, 2.4) : code / 12.92
    }

    static func code(ofLight light: Float) -> Float {
        light > 0.04045 / 12.92 ? 1.055 * pow(light, 1 / 2.4) - 0.055 : 12.92 * light
    }
}
