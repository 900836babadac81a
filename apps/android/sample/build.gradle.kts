plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.bncagan.sample"
    compileSdk = 35
    defaultConfig {
        minSdk = 28 // ImageDecoder
        targetSdk = 35
    }
    androidResources { noCompress += listOf("tflite") } // so that it is mapped, not unpacked
}

kotlin { jvmToolchain(17) }

dependencies {
    implementation(project(":enhancer"))
    implementation("androidx.activity:activity-ktx:1.10.1")
}
