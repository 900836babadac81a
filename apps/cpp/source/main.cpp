// bncagan-cpp: enhance a photograph, or run a self-test folder.
//
//   bncagan-cpp enhance MODEL IN OUT [--strength S] [--exposure E] [--threads N] [--max-side N]
//   bncagan-cpp selftest MODEL FOLDER [--threads N]
//
// Exit codes: 0 done; 1 the self-test failed; 2 a file or an option cannot be used.

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "bncagan.hpp"

namespace {

using bncagan::Error;

struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, float> options;

  float option(const std::string& name, float otherwise) const {
    const auto found = options.find(name);
    return found == options.end() ? otherwise : found->second;
  }
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      arguments.words.push_back(word);
      continue;
    }
    if (word != "--strength" && word != "--exposure" && word != "--threads" && word != "--max-side")
      throw Error("an option should be --strength, --exposure, --threads or --max-side but is " + word +
                  "; choose one of these");
    float value = 0;
    const char* text = i + 1 < argc ? argv[++i] : "";
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
    if (error != std::errc() || *end != '\0' || *text == '\0')
      throw Error(word + " should be followed by a number but is by \"" + text + "\"; write one");
    arguments.options[word] = value;
  }
  return arguments;
}

int run(const Arguments& arguments) {
  const std::vector<std::string>& words = arguments.words;
  const int threads = static_cast<int>(arguments.option("--threads", 0));
  if (words.size() == 4 && words[0] == "enhance") {
    const bncagan::Enhancer enhancer(words[1], threads);
    const bncagan::Controls controls{arguments.option("--strength", 1), arguments.option("--exposure", 0)};
    const int max_side = static_cast<int>(arguments.option("--max-side", 1024));
    bncagan::write_picture(words[3], enhancer.enhance(bncagan::read_picture(words[2]), controls, max_side));
    return 0;
  }
  if (words.size() == 3 && words[0] == "selftest") {
    const bncagan::Verdict verdict = bncagan::self_test(bncagan::Enhancer(words[1], threads), words[2]);
    std::puts(verdict.json().c_str());
    if (verdict.passed) return 0;
    std::fprintf(stderr, "bncagan-cpp: %s should pass its self-test but failed it: %s; use another device\n",
                 words[1].c_str(), verdict.failures.front().c_str());
    return 1;
  }
  throw Error("the arguments should be enhance MODEL IN OUT, or selftest MODEL FOLDER, but are others; write these");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bncagan-cpp: %s\n", error.what());
    return 2;
  }
}
