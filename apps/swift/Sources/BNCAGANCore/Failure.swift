import Foundation

/// An error in one sentence: what was expected, what came, and what to do.
public struct Failure: LocalizedError, CustomStringConvertible, Sendable {
    public let description: String

    public init(_ description: String) { self.description = description }

    public var errorDescription: String? { description }
}
