import Foundation

/// The differences between what a device produced for one picture and what was expected.
public struct Score: Equatable, Sendable {
    /// The case's name, with the shape of its batch.
    public let name: String
    /// Whether there was no NaN and no infinity.
    public let finite: Bool
    /// In dB, with peak 255; nil if no value differs.
    public let psnr: Double?
    /// The largest difference, in codes.
    public let maxCode: Int
    /// The share of the pixels in which a channel differs by more than 1 code.
    public let shareOver1: Double
    /// The mean of produced - expected for red, green and blue, in codes.
    public let bias: [Double]

    /// The largest bias of a channel, without its sign.
    public var biasMax: Double { bias.map(abs).max() ?? 0 }

    /// The PSNR, lower for one with NaN or infinity than for all others.
    var quality: Double { finite ? psnr ?? .infinity : (psnr ?? 1000) - 10000 }

    public init(name: String, answer: Answer, expected: Picture) throws {
        let pixels = expected.height * expected.width
        let (codes, finite) = try answer.rounded(pixels: pixels)
        var squares = 0, largest = 0, over = 0
        var sums = [0, 0, 0]
        for pixel in 0..<pixels {
            var worst = 0
            for channel in 0..<3 {
                let difference = Int(codes[3 * pixel + channel]) - Int(expected.codes[3 * pixel + channel])
                sums[channel] += difference
                squares += difference * difference
                worst = max(worst, abs(difference))
            }
            largest = max(largest, worst)
            over += worst > 1 ? 1 : 0
        }
        self.name = name
        self.finite = finite
        psnr = squares == 0 ? nil : 10 * log10(255 * 255 * Double(3 * pixels) / Double(squares))
        maxCode = largest
        shareOver1 = Double(over) / Double(pixels)
        bias = sums.map { Double($0) / Double(pixels) }
    }
}

/// The limits that every picture must keep; nil is no limit. Limits on CIEDE2000, which is not computed here, are left
/// out.
public struct Thresholds: Decodable, Equatable, Sendable {
    public var psnr: Double?
    public var maxCode: Int?
    public var bias: Double?

    enum CodingKeys: String, CodingKey { case psnr, maxCode = "max_code", bias }

    public init(psnr: Double? = nil, maxCode: Int? = nil, bias: Double? = nil) {
        (self.psnr, self.maxCode, self.bias) = (psnr, maxCode, bias)
    }

    /// A sentence for each limit that the picture breaks.
    public func failures(of score: Score) -> [String] {
        var found = score.finite ? [] : ["\(score.name): the output should be finite but has NaN or infinity"]
        if let psnr, let reached = score.psnr, reached < psnr {
            found.append("\(score.name): PSNR should be at least \(psnr) dB but is \(rounded(reached)) dB")
        }
        if let maxCode, score.maxCode > maxCode {
            found.append(
                "\(score.name): the largest difference should be at most \(maxCode) but is \(score.maxCode) codes")
        }
        if let bias, score.biasMax > bias {
            found.append(
                "\(score.name): the bias of a channel should be at most \(bias) but is \(rounded(score.biasMax)) codes")
        }
        return found
    }

    private func rounded(_ number: Double) -> String { String(format: "%.2f", number) }
}
