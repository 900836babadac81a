#!/bin/sh
# Kotlin on Linux, in a folder: builds and tests what needs no Android.
#
#   sh apps/android/core/linux.sh make FOLDER           fetch compiler, JUnit and Android's JSON into a new FOLDER
#   sh apps/android/core/linux.sh test FOLDER           build these sources there and run their tests
#   sh apps/android/core/linux.sh judge FOLDER A B      the verdict of self-test folder A on recorded answers B
#
# Needs Java 17, Python's pip and Debian's apt-get.
set -eu

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
}

[ $# -ge 2 ] || usage
verb=$1 folder=$2
shift 2
sources=$(cd "$(dirname "$0")" && pwd)
libraries=$folder/kotlin-stdlib.jar:$folder/json.jar:$folder/junit.jar

make() { # the compiler comes in the wheel of the Jupyter kernel, which needs no other index
    [ ! -e "$folder" ] || { echo "$folder exists already; delete it or choose another" >&2; exit 2; }
    partial=$(mktemp -d)
    "${PYTHON:-python3}" -m pip download --quiet --no-deps --dest "$partial" kotlin-jupyter-kernel==0.19.0.944
    (cd "$partial" && apt-get download -q junit5 libandroid-json-java)
    for package in "$partial"/*.deb; do dpkg -x "$package" "$partial/debian"; done
    "${PYTHON:-python3}" -m zipfile -e "$partial"/*.whl "$partial/wheel"
    mkdir -p "$folder"
    cp "$partial"/wheel/run_kotlin_kernel/jars/kotlin-jupyter-kernel-*-all.jar "$folder/compiler.jar"
    cp "$partial"/wheel/run_kotlin_kernel/jars/kotlin-stdlib-*.jar "$folder/kotlin-stdlib.jar"
    cp "$partial/debian/usr/share/java/com.android.json.jar" "$folder/json.jar"
    cp "$partial/debian/usr/share/java/junit-platform-console-standalone.jar" "$folder/junit.jar"
    rm -rf "$partial"
}

build() {
    java -cp "$folder/compiler.jar:$folder/kotlin-stdlib.jar" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
        -no-stdlib -no-reflect -Werror -classpath "$libraries" -d "$folder/classes" \
        "$sources/src/main/kotlin" "$sources/src/test/kotlin"
}

case $verb in
make) make ;;
build) build ;;
test)
    build
    cd "$sources"
    java -jar "$folder/junit.jar" --class-path "$libraries:$folder/classes" --scan-class-path "$folder/classes" \
        --disable-banner --details=tree
    ;;
judge) java -cp "$libraries:$folder/classes" org.bncagan.RecordedAnswersKt "$@" ;;
*) usage ;;
esac
