// The smallest engine: `PROGRAM [-runs=N] FILE|FOLDER...` reads inputs once and executes them all,
// N times in turn, as what `bench fuzz` measures, and where a target is linked without an engine.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

namespace fs = std::filesystem;
using Octets = std::vector<std::uint8_t>;

Octets read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void execute(const std::vector<Octets>& inputs) {
  for (const Octets& input : inputs) {
    // A copy of its own, as engines make one: what reads behind it is found.
    const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[input.size()]);
    if (!input.empty()) std::memcpy(copy.get(), input.data(), input.size());
    LLVMFuzzerTestOneInput(copy.get(), input.size());
  }
}

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

unsigned number(std::string_view text) {
  unsigned value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size())
    throw std::runtime_error("-runs=" + std::string(text) + " is no number");
  return value;
}

int replay(int argc, char** argv) {
  unsigned runs = 1;
  std::vector<Octets> inputs;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("-runs=")) {
      runs = number(word.substr(6));
    } else if (!word.starts_with('-')) {  // another engine's options mean nothing here
      for (const fs::path& path : files_of(word)) inputs.push_back(read(path));
    }
  }
  if (inputs.empty()) throw std::runtime_error("there are no inputs");
  execute(inputs);  // also what happens only once is done then
  const double start = processor_seconds();
  for (unsigned i = 1; i < runs; ++i) execute(inputs);
  std::printf("replayed %zu executions in %.6f s of processor time\n",
              inputs.size() * (runs > 0 ? runs - 1 : 0), processor_seconds() - start);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  try {
    return replay(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 2;
  }
}
