/// An 8-bit RGB picture: height x width x 3 codes, row by row, red first.
public struct Picture: Equatable, Sendable {
    public let height: Int
    public let width: Int
    public var codes: [UInt8]

    public init(height: Int, width: Int, codes: [UInt8]) throws {
        guard height > 0, width > 0, codes.count == height * width * 3 else {
            throw Failure(
                "a picture of \(height) x \(width) should have \(height * width * 3) codes but has \(codes.count); "
                    + "check its size")
        }
        (self.height, self.width, self.codes) = (height, width, codes)
    }

    /// The network's input: 3 x height x width values in [0, 1].
    public var planes: [Float] {
        let pixels = height * width
        var values = [Float](repeating: 0, count: 3 * pixels)
        for pixel in 0..<pixels {
            for channel in 0..<3 { values[channel * pixels + pixel] = Float(codes[3 * pixel + channel]) / 255 }
        }
        return values
    }
}

/// What a network answered to one picture.
public enum Answer: Sendable {
    /// 3 x height x width values in [0, 1], of an artifact whose `io` is "float32".
    case planes([Float])
    /// height x width x 3 codes, of one whose `io` is "uint8".
    case codes([UInt8])

    /// The answer as a picture; throws `Failure` for NaN or infinity.
    public func picture(height: Int, width: Int) throws -> Picture {
        let (codes, finite) = try rounded(pixels: height * width)
        guard finite else {
            throw Failure("the network should answer finite numbers but answered NaN or infinity; run its self-test")
        }
        return try Picture(height: height, width: width, codes: codes)
    }

    /// The codes, height x width x 3, with NaN and infinity counted as 0; and whether there was none.
    func rounded(pixels: Int) throws -> (codes: [UInt8], finite: Bool) {
        switch self {
        case .codes(let codes):
            try Self.require(codes.count, pixels)
            return (codes, true)
        case .planes(let values):
            try Self.require(values.count, pixels)
            var codes = [UInt8](repeating: 0, count: 3 * pixels)
            var finite = true
            for channel in 0..<3 {
                for pixel in 0..<pixels {
                    let value = values[channel * pixels + pixel]
                    finite = finite && value.isFinite
                    codes[3 * pixel + channel] = code(of: value.isFinite ? value : 0)
                }
            }
            return (codes, finite)
        }
    }

    private static func require(_ count: Int, _ pixels: Int) throws {
        guard count == 3 * pixels else {
            throw Failure(
                "an answer to \(pixels) pixels should have \(3 * pixels) values but has \(count); "
                    + "return what the network answered, unchanged")
        }
    }
}

/// A value in [0, 1] as an 8-bit code; values outside are clamped.
public func code(of value: Float) -> UInt8 {
    UInt8((255 * min(max(value, 0), 1) + 0.5).rounded(.down))
}
