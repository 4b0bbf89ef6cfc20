#include "harness/agent/daemon.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "harness/agent/client.h"

namespace displif_cts::agent {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAreArray;
using testing::HasSubstr;

class TempDir {
 public:
  TempDir() {
    std::string name = "/tmp/displif-cts-agent-test.XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A pair of terminals plays the virtio port: the agent's end has a path, the other is ours.
class Pty {
 public:
  Pty() : fd_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    grantpt(fd_.get());
    unlockpt(fd_.get());
    termios settings{};
    tcgetattr(fd_.get(), &settings);
    cfmakeraw(&settings);
    tcsetattr(fd_.get(), TCSANOW, &settings);
    // Keeps the line up while the agent has not opened it yet.
    other_.reset(open(path().c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  std::string path() const { return ptsname(fd_.get()); }
  void write(std::string_view text) const {
    ASSERT_EQ(::write(fd_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Until `end` has come, or five seconds are over.
  std::string read_until(std::string_view end) const {
    std::string out;
    while (out.find(end) == std::string::npos) {
      pollfd wanted{fd_.get(), POLLIN, 0};
      if (poll(&wanted, 1, 5000) <= 0) break;
      char chunk[4096];
      const ssize_t count = read(fd_.get(), chunk, sizeof chunk);
      if (count <= 0) break;
      out.append(chunk, static_cast<std::size_t>(count));
    }
    return out;
  }

 private:
  UniqueFd fd_;
  UniqueFd other_;
};

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    std::ofstream(dir_ / "console") << "line one\nline two\n";
    Options options;
    options.socket = dir_ / "run/agent.sock";
    options.port = port_.path();
    options.stream_port = stream_.path();
    options.guest_console = dir_ / "console";
    daemon_ = std::make_unique<Daemon>(options);
    thread_ = std::thread([this] { daemon_->run(); });
    client_ = std::make_unique<Client>(options.socket);
  }
  ~DaemonTest() override {
    daemon_->stop();
    thread_.join();
  }
  Json call(std::string_view verb, const Args& args = {}, std::string_view payload = {}) {
    return client_->call(verb, args, milliseconds(20'000), payload);
  }
  std::string error_of(std::string_view verb, const Args& args = {}) {
    return client_->try_call(verb, args).value("errno", Json(0)).dump();
  }

  TempDir dir_;
  Pty port_;
  Pty stream_;
  std::unique_ptr<Daemon> daemon_;
  std::thread thread_;
  std::unique_ptr<Client> client_;
};

TEST_F(DaemonTest, hello_lists_the_verbs_that_the_protocol_describes) {
  std::ifstream file(DISPLIF_CTS_SOURCE_DIR "/lab/guest/PROTOCOL.md");
  std::vector<std::string> described;
  bool in_section = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) in_section = line == "## The agent";
    if (in_section && line.starts_with("| `"))
      described.push_back(line.substr(3, line.find('`', 3) - 3));
  }
  std::sort(described.begin(), described.end());
  const Json hello = call("hello");
  EXPECT_THAT(hello["verbs"].get<std::vector<std::string>>(), ElementsAreArray(described));
  EXPECT_EQ(hello["version"], kAgentVersion);
  EXPECT_EQ(hello["guest_connected"], false);
  EXPECT_TRUE(hello["guest_domid"].is_null());
}

TEST_F(DaemonTest, files_go_there_and_back) {
  std::string octets;
  for (int i = 0; i < 300'000; ++i) octets += static_cast<char>(i * 7);
  EXPECT_EQ(call("put", {{"path", dir_ / "file"}, {"mode", "750"}}, octets)["size"], octets.size());
  EXPECT_EQ(std::filesystem::status(dir_ / "file").permissions(), std::filesystem::perms(0750));
  const Json piece = call("get", {{"path", dir_ / "file"}, {"offset", "299998"}, {"max", "100"}});
  EXPECT_EQ(piece["data"], base64(octets.substr(299'998)));
  EXPECT_EQ(piece["eof"], true);
  EXPECT_EQ(piece["size"], octets.size());
  EXPECT_EQ(call("get", {{"path", dir_ / "file"}, {"max", "5"}})["eof"], false);
  EXPECT_EQ(call("put", {{"path", dir_ / "file"}}, "")["size"], 0);
  EXPECT_EQ(std::filesystem::file_size(dir_ / "file"), 0u);
}

// Lists need their commas bare, which `Args` would encode.
TEST_F(DaemonTest, a_program_runs_and_its_end_is_told) {
  const auto run = [&](const std::string& script, const std::string& rest) {
    port_.write("1 start name=p argv=sh,-c," + percent_encode(script) + rest + "\n");
    EXPECT_THAT(port_.read_until("\n"), HasSubstr("\"ok\":true"));
    return call("wait", {{"name", "p"}, {"timeout_ms", "10000"}});
  };
  Json ended = run("echo out; echo err >&2; echo $X; exit 3", " env=X%3D1,Y%3D2");
  EXPECT_EQ(ended["exited"], true);
  EXPECT_EQ(ended["status"], 3);
  EXPECT_EQ(ended["stdout"], "out\n1\n");
  EXPECT_EQ(ended["stderr"], "err\n");

  ended = run("kill -9 $$", "");
  EXPECT_TRUE(ended["status"].is_null());
  EXPECT_EQ(ended["signal"], 9);

  run("echo to-a-file", " stdout=" + percent_encode(dir_ / "out"));
  std::ifstream file(dir_ / "out");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "to-a-file\n");

  // What is left running does not delay the end of the program itself.
  ended = run("sleep 30 & echo done", " stdout=port");
  EXPECT_EQ(ended["exited"], true);
  EXPECT_EQ(ended["stream_octets"], 5);
  EXPECT_EQ(stream_.read_until("\n"), "done\n");
}

TEST_F(DaemonTest, a_program_writes_more_than_the_stream_port_takes_at_once) {
  port_.write("1 start name=p argv=sh,-c,seq%201%20300000 stdout=port\n");
  port_.read_until("\n");
  const std::string seen = stream_.read_until("\n300000\n");
  const Json ended = call("wait", {{"name", "p"}, {"timeout_ms", "20000"}});
  EXPECT_EQ(ended["exited"], true);
  EXPECT_EQ(ended["stream_octets"], seen.size());
  EXPECT_TRUE(seen.starts_with("1\n2\n3\n"));
}

TEST_F(DaemonTest, a_program_can_be_waited_for_in_vain_and_killed) {
  port_.write("1 start name=p argv=sleep,100\n");
  port_.read_until("\n");
  EXPECT_EQ(call("wait", {{"name", "p"}, {"timeout_ms", "20"}})["exited"], false);
  EXPECT_EQ(error_of("start", {{"name", "p"}, {"argv", "true"}}), "\"EEXIST\"");
  const auto waiting = client_->start("wait", {{"name", "p"}});
  call("kill", {{"name", "p"}});
  EXPECT_EQ(client_->wait(waiting, milliseconds(5000))["signal"], 15);
  EXPECT_EQ(error_of("kill", {{"name", "p"}}), "\"ESRCH\"");
}

TEST_F(DaemonTest, errors_name_what_is_wrong) {
  EXPECT_EQ(error_of("hello", {{"x", "1"}}), "\"EINVAL\"");
  EXPECT_EQ(error_of("get"), "\"EINVAL\"");
  EXPECT_EQ(error_of("get", {{"path", dir_ / "none"}}), "\"ENOENT\"");
  EXPECT_EQ(error_of("get", {{"path", dir_ / "console"}, {"max", "99999999"}}), "\"EINVAL\"");
  EXPECT_EQ(error_of("start", {{"name", "p"}, {"argv", "/none"}}), "\"ENOENT\"");
  EXPECT_EQ(error_of("start", {{"name", "p"}, {"argv", ""}}), "\"EINVAL\"");
  EXPECT_EQ(error_of("wait", {{"name", "none"}}), "\"ENOENT\"");
  EXPECT_EQ(error_of("kill", {{"name", "none"}}), "\"ENOENT\"");
  EXPECT_EQ(error_of("guest-log", {{"max", "x"}}), "\"EINVAL\"");
  EXPECT_EQ(error_of("grants"), "\"ESRCH\"");
  EXPECT_EQ(error_of("ports"), "\"ESRCH\"");
  EXPECT_EQ(error_of("guest.hello"), "\"ENOTCONN\"");
  EXPECT_EQ(client_->try_call("frob")["unsupported"], true);
  EXPECT_EQ(call("domain")["state"], "gone");
  try {
    client_->call("get", {{"path", dir_ / "none"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.verb(), "get");
    EXPECT_EQ(error.error(), "ENOENT");
    EXPECT_FALSE(error.silent());
    EXPECT_THAT(error.what(), HasSubstr(dir_ / "none"));
  }
}

TEST_F(DaemonTest, the_host_answers_what_it_offers) {
  EXPECT_EQ(client_->try_call("offer", {{"verbs", "screen"}})["errno"], "EPERM");
  port_.write("1 offer verbs=screen\n");
  port_.read_until("\n");
  const Json verbs = call("hello")["verbs"];
  EXPECT_NE(std::find(verbs.begin(), verbs.end(), "screen"), verbs.end());

  const auto asked = client_->start("screen", {{"connector", "3"}});
  const std::string question = port_.read_until("\n");
  EXPECT_EQ(Json::parse(question), Json::parse(R"({"event":"ask","ask":1,"verb":"screen",)"
                                               R"("args":{"connector":"3"}})"));
  port_.write("2 answer ask=1 fields=" + percent_encode(R"({"width":8})") + "\n");
  EXPECT_EQ(client_->wait(asked, milliseconds(5000))["width"], 8);
  port_.read_until("\n");

  const auto in_vain = client_->start("screen", {{"connector", "3"}});
  port_.read_until("\n");
  port_.write("3 answer ask=2 error=dark\n4 answer ask=2 fields={}\n");
  EXPECT_EQ(client_->wait(in_vain, milliseconds(5000))["error"], "dark");
  EXPECT_THAT(port_.read_until("\"seq\":4"), HasSubstr("ENOENT"));
}

TEST_F(DaemonTest, a_program_beside_the_socket_answers_its_verb) {
  EXPECT_EQ(client_->try_call("screen")["unsupported"], true);
  LineServer program(dir_ / "run/screen.sock", [](const Request& request) {
    return Json{{"connector", request.args.text("connector")}};
  });
  EXPECT_EQ(call("screen", {{"connector", "5"}})["connector"], "5");
}

TEST_F(DaemonTest, the_guests_console_is_read_on) {
  const Json first = call("guest-log", {{"max", "9"}});
  EXPECT_EQ(first["text"], "line one\n");
  EXPECT_EQ(first["eof"], false);
  const Json second = call("guest-log", {{"offset", first["next"].dump()}});
  EXPECT_EQ(second["text"], "line two\n");
  EXPECT_EQ(second["eof"], true);
  EXPECT_EQ(call("guest-log", {{"offset", "end"}})["next"], second["next"]);
}

TEST_F(DaemonTest, shell_commands_run_beside_other_requests) {
  const auto slow = client_->start("sh", {{"command", "sleep 1; echo slow"}});
  const Json fast = call("sh", {{"command", "echo fast; exit 2"}});
  EXPECT_EQ(fast["output"], "fast\n");
  EXPECT_EQ(fast["status"], 2);
  EXPECT_EQ(call("sh", {{"command", "sleep 60"}, {"timeout_ms", "50"}})["timed_out"], true);
  EXPECT_EQ(client_->wait(slow, milliseconds(10'000))["output"], "slow\n");
}

TEST_F(DaemonTest, heartbeat_counts_since_its_reset) {
  call("heartbeat-reset");
  std::this_thread::sleep_for(std::chrono::nanoseconds(Heartbeat::kTickNs) + milliseconds(60));
  const Json beat = call("heartbeat");
  EXPECT_GE(beat["window_ns"], Heartbeat::kTickNs);
  EXPECT_GE(beat["max_gap_ns"], Heartbeat::kTickNs / 2);
  EXPECT_GE(beat["ticks"], 1);
}

TEST_F(DaemonTest, the_port_survives_garbage) {
  port_.write("garbage\n\n7 hello\n");
  EXPECT_THAT(port_.read_until("\"seq\":7"), HasSubstr("a request begins"));
}

TEST_F(DaemonTest, many_clients_get_their_own_answers) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string text = std::to_string(t) + "." + std::to_string(i);
        const std::string path = dir_ / std::to_string(t);
        client_->call("put", {{"path", path}}, milliseconds(20'000), text);
        right += client_->call("get", {{"path", path}})["data"] == base64(text) ? 1 : 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 200);
}

TEST(ClientTest, says_that_nobody_listens) {
  try {
    Client client("/tmp/displif-cts-no-such.sock", milliseconds(30));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.error(), "ENOENT");
  }
}

// A server that takes a connection and does as told.
class RawServer {
 public:
  explicit RawServer(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
  }
  UniqueFd accept() const { return UniqueFd(::accept(listener_.get(), nullptr, nullptr)); }

 private:
  UniqueFd listener_;
};

TEST(ClientTest, a_silent_agent_and_a_late_answer) {
  TempDir dir;
  RawServer server(dir / "s");
  Client client(dir / "s");
  const UniqueFd peer = server.accept();
  try {
    client.call("hello", {}, milliseconds(30));
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(error.silent());
  }
  const std::string answers = "{\"seq\":1,\"ok\":true}\n{\"seq\":2,\"ok\":true,\"mine\":1}\n";
  const auto ticket = client.start("hello");
  ASSERT_GT(write(peer.get(), answers.data(), answers.size()), 0);
  EXPECT_EQ(client.wait(ticket, milliseconds(5000))["mine"], 1);
}

TEST(ClientTest, a_connection_that_breaks_or_talks_nonsense_is_an_error) {
  for (const std::string& says : {std::string(), std::string("nonsense\n"), std::string("{}\n")}) {
    TempDir dir;
    RawServer server(dir / "s");
    Client client(dir / "s");
    UniqueFd peer = server.accept();
    const auto ticket = client.start("hello");
    if (says.empty())
      peer.reset();
    else
      ASSERT_GT(write(peer.get(), says.data(), says.size()), 0);
    EXPECT_THROW(client.wait(ticket, milliseconds(5000)), Error);
    EXPECT_THROW(client.start("hello"), Error);
  }
}

}  // namespace
}  // namespace displif_cts::agent
