// Runs every verb of the exerciser on the machine at hand, over stdio: without a display device,
// most for their errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/agent/line_protocol.h"

namespace displif_cts::exerciser {
namespace {

using testing::ElementsAreArray;

// All answers to `requests`, by sequence number.
std::map<std::uint64_t, Json> exercise(const std::string& requests) {
  int in[2];
  int out[2];
  EXPECT_EQ(pipe(in), 0);
  EXPECT_EQ(pipe(out), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    for (const int fd : {in[0], in[1], out[0], out[1]}) close(fd);
    execl(DISPLIF_CTS_EXERCISER, "displif-cts-exerciser", "--stdio", nullptr);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  EXPECT_EQ(write(in[1], requests.data(), requests.size()), static_cast<ssize_t>(requests.size()));
  close(in[1]);
  std::string text;
  char chunk[4096];
  for (ssize_t count; (count = read(out[0], chunk, sizeof chunk)) > 0;)
    text.append(chunk, static_cast<std::size_t>(count));
  close(out[0]);
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  std::map<std::uint64_t, Json> answers;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const Json answer = Json::parse(text.substr(at, end - at));
    answers[answer["seq"].get<std::uint64_t>()] = answer;
    at = end + 1;
  }
  return answers;
}

std::vector<std::string> verbs_of_hello() {
  return exercise("1 hello\n")[1]["verbs"].get<std::vector<std::string>>();
}

TEST(Exerciser, hello_lists_the_verbs_that_the_protocol_describes) {
  std::ifstream file(DISPLIF_CTS_SOURCE_DIR "/lab/guest/PROTOCOL.md");
  std::vector<std::string> described;
  bool in_section = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) in_section = line == "## The exerciser";
    if (in_section && line.starts_with("| `"))
      described.push_back(line.substr(3, line.find('`', 3) - 3));
  }
  std::sort(described.begin(), described.end());
  EXPECT_THAT(verbs_of_hello(), ElementsAreArray(described));
}

struct Row {
  const char* request;              // without its number
  std::vector<std::string> errors;  // any of these; empty: it succeeds
};

const std::vector<Row>& table() {
  static const std::vector<Row> rows = {
      {"hello", {}},
      {"hello x=1", {"EINVAL"}},
      {"heartbeat", {}},
      {"heartbeat mark=a%20b", {"EINVAL"}},
      {"heartbeat-reset", {}},
      {"klog offset=x", {"EINVAL"}},
      {"wait job=none", {"ENOENT"}},
      {"objects", {}},
      {"wait name=none", {"ENOENT"}},
      {"wait", {"EINVAL"}},
      {"sleep ms=1", {}},
      {"sleep ms=-1", {"EINVAL"}},
      {"sleep ms=1 async=1", {"EINVAL"}},  // without a name
      {"sleep ms=1 name=x", {"EINVAL"}},   // a name without async
      {"put path=/nonexistent/file size=0\n", {"ENOENT"}},
      {"put path=/tmp/x size=0 mode=8\n", {"EINVAL"}},
      {"get path=/nonexistent", {"ENOENT"}},
      {"get path=/proc/self/cmdline max=4", {}},
      {"sh command=true", {}},
      {"sh", {"EINVAL"}},
      {"load-module path=/nonexistent", {"ENOENT"}},
      {"unload-module name=..%2Fx", {"EINVAL"}},
      {"unload-module name=no-such-module-here", {"ENOENT", "EPERM", "ENOSYS"}},
      {"module name=a%2Fb", {"EINVAL"}},
      {"module name=no-such-module-here", {}},
      {"modules x=1", {"EINVAL"}},
      {"xen x=1", {"EINVAL"}},
      {"sysctl key=kernel.ostype", {}},
      {"sysctl key=kernel%2Fostype", {}},
      {"sysctl key=..%2F..%2Fx", {"EINVAL"}},
      {"sysctl key=kernel.ostype value=x", {"EACCES", "EPERM", "EROFS"}},
      {"await-no-device path=device%2Fvdispl%2F999", {}},
      {"await-no-device path=vdispl-0", {"EINVAL"}},
      {"clear-warn-once x=1", {"EINVAL"}},
      {"leaks settle_ms=x", {"EINVAL", "ENOENT", "EACCES", "EPERM"}},
      {"objects fail-nth=x", {"EINVAL"}},
      {"taint", {}},
      {"sysrq key=xyz", {"EINVAL"}},
      {"panic now=1", {"EINVAL"}},
      {"drm-devices", {}},
      {"open name=card driver=no-such-driver timeout_ms=20", {"ENODEV", "EACCES", "EPERM"}},
      {"open name=", {"EINVAL"}},
      {"close name=none", {"ENOENT"}},
      {"close-all", {}},
      {"set-master fd=none", {"ENOENT"}},
      {"drop-master fd=none", {"ENOENT"}},
      {"connectors fd=none", {"ENOENT"}},
      {"create-dumb fd=none name=b width=1 height=1", {"ENOENT"}},
      {"create-dumb fd=none name=b width=1", {"EINVAL"}},
      {"create-dumb fd=none name=b width=4294967296 height=1", {"ENOENT", "EINVAL"}},
      {"destroy-dumb fd=none name=b", {"ENOENT"}},
      {"vgem-create name=v size=x", {"EINVAL"}},
      {"map name=none", {"ENOENT"}},
      {"unmap name=none", {"ENOENT"}},
      {"fill name=none seed=1", {"ENOENT"}},
      {"read name=none", {"ENOENT"}},
      {"add-fb fd=none name=f buffer=b", {"ENOENT"}},
      {"rm-fb fd=none name=f", {"ENOENT"}},
      {"dirty-fb fd=none fb=f", {"ENOENT"}},
      {"set-crtc fd=none crtc=1 fb=f connector=1 width=1 height=1", {"ENOENT"}},
      {"crtc-off fd=none crtc=1", {"ENOENT"}},
      {"get-crtc fd=none crtc=1", {"ENOENT"}},
      {"page-flip fd=none crtc=1 fb=f", {"ENOENT"}},
      {"wait-event fd=none timeout_ms=1", {"ENOENT"}},
      {"flips fd=none crtc=1 fbs=a,b count=1", {"ENOENT"}},
      {"prime-export name=b out=d", {"ENOENT"}},
      {"prime-import fd=none in=d name=b", {"ENOENT"}},
      {"close-dmabuf name=d", {"ENOENT"}},
      {"no-such-verb", {"ENOSYS"}},
      {"taint lane=1", {}},
      {"taint lane=x", {"EINVAL"}},
  };
  return rows;
}

TEST(Exerciser, every_verb_answers_as_the_table_says) {
  std::string requests;
  for (std::size_t i = 0; i < table().size(); ++i) {
    requests += std::to_string(i + 1) + " " + table()[i].request;
    if (requests.back() != '\n') requests += '\n';
  }
  const auto answers = exercise(requests);
  for (std::size_t i = 0; i < table().size(); ++i) {
    const Row& row = table()[i];
    ASSERT_TRUE(answers.contains(i + 1)) << row.request;
    const Json& answer = answers.at(i + 1);
    EXPECT_EQ(answer["ok"], row.errors.empty()) << row.request << " " << answer;
    if (row.errors.empty()) continue;
    const std::string error = answer["errno"].get<std::string>();
    EXPECT_NE(std::find(row.errors.begin(), row.errors.end(), error), row.errors.end())
        << row.request << " " << answer;
    EXPECT_NE(answer["error"], "") << row.request;
  }
}

TEST(Exerciser, the_table_leaves_no_verb_out) {
  std::set<std::string> in_table;
  for (const Row& row : table()) {
    const std::string request = row.request;
    in_table.insert(request.substr(0, request.find_first_of(" \n")));
  }
  for (const std::string& verb : verbs_of_hello()) EXPECT_TRUE(in_table.contains(verb)) << verb;
}

TEST(Exerciser, an_unknown_verb_is_unsupported) {
  EXPECT_EQ(exercise("1 frob\n")[1]["unsupported"], true);
}

TEST(Exerciser, a_file_goes_there_and_back) {
  const std::string path = "/tmp/displif-cts-exerciser-test." + std::to_string(getpid());
  auto answers =
      exercise("1 put path=" + path + " size=4 mode=600\nab\nc2 get path=" + path + "\n");
  EXPECT_EQ(answers[1]["ok"], true);
  EXPECT_EQ(answers[2]["data"], agent::base64("ab\nc"));
  std::filesystem::remove(path);
}

TEST(Exerciser, asynchronous_calls_give_their_answer_once) {
  auto answers = exercise(
      "1 sleep ms=200 async=1 name=a\n2 sleep ms=1 async=1 name=a\n3 wait name=a timeout_ms=1\n"
      "4 wait name=a\n5 wait name=a\n6 close name=none async=1 job=b\n7 wait job=b\n");
  EXPECT_EQ(answers[1]["started"], "a");
  EXPECT_EQ(answers[2]["errno"], "EEXIST");
  EXPECT_EQ(answers[3]["errno"], "ETIMEDOUT");
  EXPECT_EQ(answers[3]["pending"], true);
  EXPECT_EQ(answers[4]["ok"], true);
  EXPECT_GE(answers[4]["took_ns"], 200'000'000);
  EXPECT_EQ(answers[5]["errno"], "ENOENT");
  EXPECT_EQ(answers[7]["errno"], "ENOENT");
  EXPECT_EQ(answers[7]["error"], "no open file named none");
}

TEST(Exerciser, lanes_do_not_wait_for_each_other_but_each_keeps_its_order) {
  auto answers = exercise("1 sleep ms=300 lane=1\n2 taint lane=1\n3 taint lane=2\n4 hello\n");
  EXPECT_LT(answers[3]["ns"], answers[1]["ns"]);
  EXPECT_LT(answers[4]["ns"], answers[1]["ns"]);
  EXPECT_LE(answers[1]["ns"], answers[2]["ns"]);
}

}  // namespace
}  // namespace displif_cts::exerciser
