// The self-test of docs/self-test.md: golden pictures, limits, and the verdict.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../bncagan.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace bncagan {

struct Verdict {
  bool passed = false;
  std::string runtime, device, precision;
  std::optional<double> psnr_min, psnr_mean;  // dB, over the pictures that differ
  int max_code = 0, cases = 0;
  double share_over_1 = 0, bias_max = 0;
  std::string worst;
  std::vector<std::string> failures;

  std::string json() const {
    std::string list;
    for (const std::string& failure : failures) list += (list.empty() ? "\n    " : ",\n    ") + quoted(failure);
    if (!list.empty()) list += "\n  ";
    return "{\n  \"label\": \"measured\",\n  \"passed\": " + std::string(passed ? "true" : "false") +
           ",\n  \"runtime\": " + quoted(runtime) + ",\n  \"device\": " + quoted(device) +
           ",\n  \"precision\": " + quoted(precision) + ",\n  \"psnr_min\": " + written(psnr_min) +
           ",\n  \"psnr_mean\": " + written(psnr_mean) + ",\n  \"max_code\": " + std::to_string(max_code) +
           ",\n  \"share_over_1\": " + written(share_over_1) + ",\n  \"bias_max\": " + written(bias_max) +
           ",\n  \"de_mean\": null,\n  \"de_p99\": null,\n  \"cases\": " + std::to_string(cases) +
           ",\n  \"worst\": " + quoted(worst) + ",\n  \"failures\": [" + list + "]\n}";
  }
};

struct Score {
  std::string name;
  bool finite = true;
  std::optional<double> psnr;  // dB; none if no value differs
  int max_code = 0;
  double share_over_1 = 0, bias = 0;
};

inline Score scored(const std::string& name, const Picture& produced, const Picture& expected, bool finite) {
  Score score{name, finite, std::nullopt, 0, 0, 0};
  std::array<double, 3> sum{};
  double squares = 0, over = 0;
  const size_t pixels = expected.rgb.size() / 3;
  for (size_t i = 0; i < pixels; ++i) {
    int largest = 0;
    for (size_t c = 0; c < 3; ++c) {
      const int d = produced.rgb[3 * i + c] - expected.rgb[3 * i + c];
      sum[c] += d;
      squares += d * d;
      largest = std::max(largest, std::abs(d));
    }
    score.max_code = std::max(score.max_code, largest);
    over += largest > 1;
  }
  const double count = static_cast<double>(pixels);
  if (squares > 0) score.psnr = 10 * std::log10(255.0 * 255.0 / (squares / (3 * count)));
  score.share_over_1 = over / count;
  for (const double channel : sum) score.bias = std::max(score.bias, std::abs(channel / count));
  return score;
}

// The sentences about limits that a score breaks; null is no limit.
inline std::vector<std::string> broken(const Score& score, const Json& limits) {
  std::vector<std::string> found;
  const auto limit = [&](const char* name) { return Json::maybe(limits.find(name)); };
  if (!score.finite) found.push_back("the output should be finite but has NaN or infinity");
  if (const auto least = limit("psnr"); least && score.psnr && *score.psnr < *least)
    found.push_back("PSNR should be at least " + written(least) + " dB but is " + written(score.psnr) + " dB");
  if (const auto most = limit("max_code"); most && score.max_code > *most)
    found.push_back("the largest difference should be at most " + written(most) + " but is " +
                    std::to_string(score.max_code) + " codes");
  if (const auto most = limit("bias"); most && score.bias > *most)
    found.push_back("the bias of a channel should be at most " + written(most) + " but is " + written(score.bias) +
                    " codes");
  for (std::string& sentence : found) sentence = score.name + ": " + sentence;
  return found;
}

// A picture of the folder, from its .rgb file, or from the .png where only that is there.
inline Picture golden(const std::filesystem::path& folder, const Json& entry, const char* end) {
  const Json& named = entry.at(end);
  const Json* photograph = std::string_view(end) == "input" ? nullptr : entry.find("photograph");
  const Json& sized = photograph == nullptr ? entry : *photograph;
  const std::filesystem::path rgb = folder / named.at("rgb").string();
  Picture picture(sized.at("height").integer(), sized.at("width").integer());
  const size_t size = picture.rgb.size();
  picture.rgb = std::filesystem::exists(rgb) ? read_file(rgb) : read_picture(folder / named.at("png").string()).rgb;
  if (picture.rgb.size() != size || sha256(picture.rgb) != named.at("sha256").string())
    throw Error(rgb.string() + " should be the picture that selftest.json names but is another; copy the folder again");
  return picture;
}

// What the network makes of a batch of cases: its pictures, or the change that it tells, applied to their photographs.
inline std::vector<Enhancer::Answer> answers_of(const Enhancer& enhancer, const std::filesystem::path& folder,
                                                const std::vector<const Json*>& cases) {
  std::vector<Picture> pictures;
  std::vector<Controls> controls;
  for (const Json* entry : cases) {
    pictures.push_back(golden(folder, *entry, "input"));
    controls.push_back({float(entry->at("strength").number()), float(entry->at("exposure").number())});
  }
  if (cases.front()->find("photograph") == nullptr) return enhancer.answers(pictures, controls);
  const Change told = enhancer.change(pictures);
  std::vector<Enhancer::Answer> answers;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Picture photograph = golden(folder, *cases[i], "photograph");
    const bool finite = told.finite(i);
    const Picture black(photograph.height, photograph.width);
    answers.push_back({finite ? applied(photograph, told, i, controls[i]) : black, finite});
  }
  return answers;
}

// Run all batches of a self-test folder. Error if the folder cannot be used, or is of another kind of file.
inline Verdict self_test(const Enhancer& enhancer, const std::filesystem::path& folder) {
  const std::vector<uint8_t> text = read_file(folder / "selftest.json");
  const Json index = Json::parse({reinterpret_cast<const char*>(text.data()), text.size()}, "selftest.json");
  if (index.at("format_version").string().rfind("1.", 0) != 0)
    throw Error("selftest.json should be of version 1.x but is of " + index.at("format_version").string() +
                "; use a newer bncagan.hpp");
  if (index.at("io").string() != enhancer.spec().io)
    throw Error("the self-test should be of the same pixels as the model but is of " + index.at("io").string() +
                "; write it again with bncagan verify --write-self-test");
  Verdict verdict;
  verdict.runtime = Enhancer::runtime();
  verdict.device = Enhancer::device();
  verdict.precision = index.at("precision").string();
  std::vector<Score> scores;
  for (const Json& batch : index.at("batches").array()) {
    std::vector<const Json*> cases;
    for (const Json& number : batch.array())
      cases.push_back(&index.at("cases").array().at(static_cast<size_t>(number.integer())));
    if (cases.empty()) continue;
    const std::vector<Enhancer::Answer> answers = answers_of(enhancer, folder, cases);
    for (size_t i = 0; i < cases.size(); ++i) {
      const std::string name = cases[i]->at("name").string() + " at " + std::to_string(cases.size()) + "x" +
                               std::to_string(cases[i]->at("height").integer()) + "x" +
                               std::to_string(cases[i]->at("width").integer());
      scores.push_back(scored(name, answers[i].picture, golden(folder, *cases[i], "expected"), answers[i].finite));
      for (std::string& sentence : broken(scores.back(), index.at("thresholds")))
        verdict.failures.push_back(std::move(sentence));
    }
  }
  if (scores.empty()) throw Error("selftest.json should have batches but has none; write it again");
  double sum = 0;
  int differing = 0;
  const Score* worst = &scores.front();
  const auto rank = [](const Score& score) { return std::pair(score.finite, score.psnr.value_or(INFINITY)); };
  for (const Score& score : scores) {
    if (rank(score) < rank(*worst)) worst = &score;
    if (score.psnr) sum += *score.psnr, ++differing;
    if (score.psnr) verdict.psnr_min = std::min(*score.psnr, verdict.psnr_min.value_or(INFINITY));
    verdict.max_code = std::max(verdict.max_code, score.max_code);
    verdict.share_over_1 = std::max(verdict.share_over_1, score.share_over_1);
    verdict.bias_max = std::max(verdict.bias_max, score.bias);
  }
  if (differing > 0) verdict.psnr_mean = sum / differing;
  verdict.cases = static_cast<int>(scores.size());
  verdict.worst = worst->name;
  verdict.passed = verdict.failures.empty();
  return verdict;
}

}  // namespace bncagan
