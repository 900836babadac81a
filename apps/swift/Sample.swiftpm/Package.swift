// swift-tools-version: 6.0
// Open this folder with Xcode 16 or Swift Playgrounds. Not run: needs Apple's tools.
import AppleProductTypes
import PackageDescription

let package = Package(
    name: "Sample",
    platforms: [.iOS(.v16)],
    products: [
        .iOSApplication(
            name: "Sample", targets: ["Sample"], bundleIdentifier: "org.example.bncagan", displayVersion: "1.0",
            bundleVersion: "1", supportedDeviceFamilies: [.phone, .pad], supportedInterfaceOrientations: [.portrait])
    ],
    dependencies: [.package(path: "..")],
    targets: [
        .executableTarget(
            name: "Sample", dependencies: [.product(name: "BNCAGAN", package: "swift")], path: ".",
            resources: [.copy("Resources")])
    ]
)
