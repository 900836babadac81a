// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "BNCAGAN",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "BNCAGAN", targets: ["BNCAGAN"]),
        .library(name: "BNCAGANCore", targets: ["BNCAGANCore"]),
        .executable(name: "bncagan-selftest", targets: ["bncagan-selftest"]),
    ],
    targets: [
        .target(name: "BNCAGANCore"),  // everything that needs no Apple framework; builds on Linux, too
        .target(name: "BNCAGAN", dependencies: ["BNCAGANCore"]),  // Core ML, Core Image and Metal; empty elsewhere
        .executableTarget(name: "bncagan-selftest", dependencies: ["BNCAGAN", "BNCAGANCore"]),
        .testTarget(
            name: "BNCAGANCoreTests", dependencies: ["BNCAGANCore"], resources: [.copy("Fixtures")]),
        .testTarget(name: "BNCAGANTests", dependencies: ["BNCAGAN"]),
    ]
)
