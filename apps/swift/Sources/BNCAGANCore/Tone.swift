/// The tone head's decision for one photograph, which applies to every pixel at any size.
public struct Tone: Equatable, Sendable {
    /// Black level, gain, six steps, S, lift, saturation, the gains of red, green and blue, the share of the change, 0.
    public let numbers: [Float]

    /// Changes nothing.
    public static let identity = Tone(unchecked: [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0])

    public init(_ numbers: [Float]) throws {
        guard numbers.count == 16, numbers.allSatisfy(\.isFinite) else {
            throw Failure("a tone should have 16 finite numbers but has \(numbers); run the network again")
        }
        self.numbers = numbers
    }

    private init(unchecked numbers: [Float]) { self.numbers = numbers }

    /// The pixel after the curve; red, green and blue in [0, 1], before and after.
    public func applied(to pixel: SIMD3<Float>) -> SIMD3<Float> {
        let start = ((pixel - numbers[0]) * numbers[1]).clamped(lowerBound: .zero, upperBound: .one)
        var added = SIMD3<Float>.zero
        var value = start
        for step in numbers[2..<8] {
            added += step * value * (1 - value)
            value = start + added
        }
        added += numbers[8] * value * (1 - value) * (2 * value - 1)
        value = start + added
        value = start + (added + numbers[9] * (1 - value))
        let luma = (value * Self.lumaWeights).sum()
        value += (value - luma) * numbers[10]
        value = (value * SIMD3(numbers[11], numbers[12], numbers[13])).clamped(lowerBound: .zero, upperBound: .one)
        return pixel + numbers[14] * (value - pixel)
    }

    static let lumaWeights = SIMD3<Float>(0.299, 0.587, 0.114)
}
