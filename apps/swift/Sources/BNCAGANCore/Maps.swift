/// The generator's change of a photograph: for each window of a coarse grid an affine transform of colours, A and b.
/// It applies to the photograph at any size, after the tone.
public struct Maps: Sendable {
    public let height: Int
    public let width: Int
    /// 12 x height x width: the rows of (A | b), A00 A01 A02 b0 A10 ... b2.
    public let values: [Float]

    public init(height: Int, width: Int, values: [Float]) throws {
        guard height > 0, width > 0, values.count == 12 * height * width else {
            throw Failure(
                "maps of \(height) x \(width) should have \(12 * height * width) values but have \(values.count); "
                    + "run the network again")
        }
        (self.height, self.width, self.values) = (height, width, values)
    }

    /// The pixel after the change, where `toned` is the pixel after the tone, at (row, column) of a photograph.
    public func applied(
        to toned: SIMD3<Float>, row: Int, column: Int, of size: (height: Int, width: Int)
    ) -> SIMD3<Float> {
        let (top, bottom, down) = Self.place(row, size.height, height)
        let (left, right, along) = Self.place(column, size.width, width)
        func value(_ channel: Int) -> Float {
            let plane = channel * height * width
            let upper = mixed(values[plane + top * width + left], values[plane + top * width + right], along)
            let lower = mixed(values[plane + bottom * width + left], values[plane + bottom * width + right], along)
            return mixed(upper, lower, down)
        }
        var change = SIMD3<Float>.zero
        for channel in 0..<3 {
            let row = SIMD3(value(4 * channel), value(4 * channel + 1), value(4 * channel + 2))
            change[channel] = (row * toned).sum() + value(4 * channel + 3)
        }
        return (toned + change).clamped(lowerBound: .zero, upperBound: .one)
    }

    /// The windows before and after a pixel, and the share of the latter: centres of both at half pixels.
    private static func place(_ index: Int, _ length: Int, _ windows: Int) -> (Int, Int, Float) {
        let position = min(max((Float(index) + 0.5) * Float(windows) / Float(length) - 0.5, 0), Float(windows - 1))
        let first = Int(position)
        return (first, min(first + 1, windows - 1), position - Float(first))
    }

    private func mixed(_ a: Float, _ b: Float, _ share: Float) -> Float { a + (b - a) * share }
}
