// Inputs between their two forms: `displif-fuzz-input print FILE...` writes text to stdout,
// `displif-fuzz-input pack FROM TO` a folder of texts to a folder of binary inputs for an engine,
// `displif-fuzz-input unpack FROM TO` the other way. `displif-fuzz-input make SEED COUNT MOST FROM
// TO` makes COUNT new inputs for a frontend, as texts, of at most MOST actions, out of those in
// FROM.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzzers/input/codec.h"
#include "fuzzers/input/mutator.h"

namespace {

namespace fs = std::filesystem;
using displif_cts::fuzz::Input;
using displif_cts::fuzz::InputError;

std::vector<std::uint8_t> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw InputError("cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const char* data, std::size_t size) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(data, static_cast<std::streamsize>(size));
  file.flush();
  if (!file) throw InputError("cannot be written: is there space?");
}

void convert(const fs::path& from, const fs::path& to, bool pack) {
  const Input input = displif_cts::fuzz::read_any(read(from));
  if (pack) {
    const std::vector<std::uint8_t> octets = displif_cts::fuzz::encode(input);
    write(to, reinterpret_cast<const char*>(octets.data()), octets.size());
  } else {
    const std::string text = displif_cts::fuzz::print(input);
    write(to, text.data(), text.size());
  }
}

int folders(const fs::path& from, const fs::path& to, bool pack) {
  fs::create_directories(to);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  int status = 0;
  for (const fs::path& path : files) {
    try {
      fs::path name = path.filename();
      name.replace_extension(pack ? "" : ".txt");
      convert(path, to / name, pack);
    } catch (const InputError& error) {
      std::cerr << "displif-fuzz-input: " << path.string() << ": " << error.what() << "\n";
      status = 2;
    }
  }
  return status;
}

// What a target that attacks a frontend takes.
constexpr unsigned kRoles = displif_cts::fuzz::kBackendAttacks | displif_cts::fuzz::kGuestPrograms |
                            displif_cts::fuzz::kWorld;

// Sorted, so that a seed says it all.
std::vector<Input> inputs_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<Input> inputs;
  inputs.reserve(files.size());
  for (const fs::path& path : files) inputs.push_back(displif_cts::fuzz::read_any(read(path)));
  return inputs;
}

int make_inputs(std::uint64_t seed, std::uint64_t count, std::size_t most, const fs::path& from,
                const fs::path& to) {
  const std::vector<Input> known = inputs_in(from);
  displif_cts::fuzz::Random random(seed);
  displif_cts::fuzz::Mutator mutator(kRoles, random.next());
  fs::create_directories(to);
  for (std::uint64_t i = 0; i < count; ++i) {
    Input input;
    if (known.empty() || random.one_in(8)) {
      input = mutator.generate();
    } else if (random.one_in(6)) {
      input =
          mutator.cross(known[random.below(known.size())], known[random.below(known.size())], most);
    } else {
      input = known[random.below(known.size())];
    }
    mutator.mutate(input, most);
    // Nobody in a real guest can be told to let an allocation fail.
    std::erase_if(input,
                  [](const auto& action) { return action.kind == displif_cts::fuzz::Kind::fail; });
    const std::string text = displif_cts::fuzz::print(input);
    write(to / (std::to_string(i) + ".txt"), text.data(), text.size());
  }
  return 0;
}

int print_all(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    try {
      std::cout << displif_cts::fuzz::print(displif_cts::fuzz::read_any(read(path)));
    } catch (const InputError& error) {
      std::cerr << "displif-fuzz-input: " << path << ": " << error.what() << "\n";
      return 2;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() >= 2 && words[0] == "print")
      return print_all({words.begin() + 1, words.end()});
    if (words.size() == 3 && (words[0] == "pack" || words[0] == "unpack")) {
      return folders(words[1], words[2], words[0] == "pack");
    }
    if (words.size() == 6 && words[0] == "make") {
      return make_inputs(std::stoull(words[1]), std::stoull(words[2]), std::stoull(words[3]),
                         words[4], words[5]);
    }
  } catch (const InputError& error) {
    std::cerr << "displif-fuzz-input: " << error.what() << "\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "displif-fuzz-input: " << error.what() << "\n";
    return 3;
  }
  std::cerr << "usage: displif-fuzz-input print FILE... | pack FROM TO | unpack FROM TO |\n"
               "       make SEED COUNT MOST FROM TO\n";
  return 2;
}
