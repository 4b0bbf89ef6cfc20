// displif-store-sequences: random requests to a XenStore, and its answers.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "harness/loopback/store/sequence.h"

int main(int argc, char** argv) {
  namespace store = displif_cts::loopback::store;
  store::SequenceOptions options;
  std::string daemon;
  std::string stand_in;
  std::string socket;
  bool plain = false;
  CLI::App app{
      "Asks a XenStore what the seed says, through several clients of several domains, and prints\n"
      "the answers. The same seed asks every store the same: compare two outputs. Without further\n"
      "options the store is loopback's own, in this process.",
      "displif-store-sequences"};
  app.add_option("--seed", options.seed, "any number; another sequence for each")
      ->capture_default_str();
  app.add_option("--steps", options.steps, "how long the sequence is")->capture_default_str();
  auto* with_daemon =
      app.add_option("--daemon", daemon, "start this xenstored without Xen, by --stand-in")
          ->check(CLI::ExistingFile);
  auto* with_stand_in =
      app.add_option("--stand-in", stand_in, "displif-store-stand-in.so")->check(CLI::ExistingFile);
  with_daemon->needs(with_stand_in);
  auto* with_socket = app.add_option("--socket", socket,
                                     "a running store's socket, all clients being domain 0's; its "
                                     "quotas and other nodes are left alone")
                          ->excludes(with_daemon);
  app.add_flag("--plain", plain, "loopback's store, asked as by --socket")
      ->excludes(with_daemon)
      ->excludes(with_socket);
  CLI11_PARSE(app, argc, argv);
  try {
    const std::unique_ptr<store::World> world = !daemon.empty()
                                                    ? store::daemon_world(daemon, stand_in)
                                                : !socket.empty() ? store::socket_world(socket)
                                                : plain           ? store::plain_core_world()
                                                                  : store::core_world();
    store::play_sequence(*world, options, std::cout);
  } catch (const std::exception& error) {
    std::cout.flush();
    std::cerr << "displif-store-sequences: " << error.what() << "\n";
    return 3;
  }
  return 0;
}
