import Foundation

/// The result of a self-test: the JSON object that docs/self-test.md describes.
public struct Verdict: Codable, Equatable, Sendable {
    public let label: String
    public let passed: Bool
    public let runtime: String
    public let device: String
    public let precision: String
    public let psnrMin: Double?
    public let psnrMean: Double?
    public let maxCode: Int
    public let shareOver1: Double
    public let biasMax: Double
    public let cases: Int
    public let worst: String
    public let failures: [String]

    /// Summarizes the scores of all pictures, at least one. `device` is the one that really ran.
    public init(scores: [Score], thresholds: Thresholds, runtime: String, device: String, precision: String) {
        let decibels = scores.compactMap(\.psnr)
        failures = scores.flatMap(thresholds.failures(of:))
        label = "measured"
        passed = failures.isEmpty && !scores.isEmpty
        (self.runtime, self.device, self.precision) = (runtime, device, precision)
        psnrMin = decibels.min()
        psnrMean = decibels.isEmpty ? nil : decibels.reduce(0, +) / Double(decibels.count)
        maxCode = scores.map(\.maxCode).max() ?? 0
        shareOver1 = scores.map(\.shareOver1).max() ?? 0
        biasMax = scores.map(\.biasMax).max() ?? 0
        cases = scores.count
        worst = scores.min { $0.quality < $1.quality }?.name ?? ""
    }

    enum CodingKeys: String, CodingKey {
        case label, passed, runtime, device, precision, cases, worst, failures
        case psnrMin = "psnr_min", psnrMean = "psnr_mean", maxCode = "max_code", shareOver1 = "share_over_1"
        case biasMax = "bias_max", deMean = "de_mean", deP99 = "de_p99"
    }

    public func encode(to encoder: any Encoder) throws {
        var object = encoder.container(keyedBy: CodingKeys.self)
        try object.encode(label, forKey: .label)
        try object.encode(passed, forKey: .passed)
        try object.encode(runtime, forKey: .runtime)
        try object.encode(device, forKey: .device)
        try object.encode(precision, forKey: .precision)
        try object.encode(psnrMin, forKey: .psnrMin)  // null where nothing differs
        try object.encode(psnrMean, forKey: .psnrMean)
        try object.encode(maxCode, forKey: .maxCode)
        try object.encode(shareOver1, forKey: .shareOver1)
        try object.encode(biasMax, forKey: .biasMax)
        try object.encodeNil(forKey: .deMean)
        try object.encodeNil(forKey: .deP99)
        try object.encode(cases, forKey: .cases)
        try object.encode(worst, forKey: .worst)
        try object.encode(failures, forKey: .failures)
    }

    /// The object as text.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
}

extension Verdict {
    public init(from decoder: any Decoder) throws {
        let object = try decoder.container(keyedBy: CodingKeys.self)
        label = try object.decode(String.self, forKey: .label)
        passed = try object.decode(Bool.self, forKey: .passed)
        runtime = try object.decode(String.self, forKey: .runtime)
        device = try object.decode(String.self, forKey: .device)
        precision = try object.decode(String.self, forKey: .precision)
        psnrMin = try object.decodeIfPresent(Double.self, forKey: .psnrMin)
        psnrMean = try object.decodeIfPresent(Double.self, forKey: .psnrMean)
        maxCode = try object.decode(Int.self, forKey: .maxCode)
        shareOver1 = try object.decode(Double.self, forKey: .shareOver1)
        biasMax = try object.decode(Double.self, forKey: .biasMax)
        cases = try object.decode(Int.self, forKey: .cases)
        worst = try object.decode(String.self, forKey: .worst)
        failures = try object.decode([String].self, forKey: .failures)
    }
}
