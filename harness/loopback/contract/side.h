// One end of a contract test: a process in a domain that calls Xen's C ABI as it is told.
//
// Every operation is a word and numbers, and is answered by a number, an errno and more numbers, so
// that the same test may give it to the own process or to one in another domain.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct xenevtchn_handle;
struct xengntdev_handle;
struct xs_handle;

namespace displif_cts::contract {

struct Answer {
  long value = 0;          // what the call returned; handles and memory as numbers
  int error = 0;           // errno, where the call failed
  std::vector<long> more;  // references, statuses, octets
};

class Side {
 public:
  virtual ~Side() = default;
  virtual Answer run(const std::string& verb, const std::vector<long>& arguments) = 0;
  Answer operator()(const std::string& verb, std::initializer_list<long> arguments = {}) {
    return run(verb, arguments);
  }
  // The process ends at once, without closing anything, and another takes its place.
  virtual void die() = 0;
  virtual long domain() const = 0;
  virtual const char* name() const = 0;
};

// Calls in this process. Verbs: side.cc.
class Executor {
 public:
  Executor();
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  Answer run(const std::string& verb, const std::vector<long>& arguments);
  // Closes all that is open.
  void clear();

 private:
  struct Memory {
    char* start;
    std::size_t pages;
    bool shared;
    long handle;
  };
  Memory& memory(long number);
  xenevtchn_handle* events(long number);
  xengntdev_handle* grants(long number);

  std::map<long, xenevtchn_handle*> events_;
  std::map<long, xengntdev_handle*> mappers_;
  std::map<long, xengntdev_handle*> sharers_;
  std::map<long, Memory> memory_;
  long next_ = 1;
};

// A process of the own domain, a child of this one.
class Near : public Side {
 public:
  Near(const char* name, long domain);
  ~Near() override;

  Answer run(const std::string& verb, const std::vector<long>& arguments) override;
  void die() override;
  long domain() const override { return domain_; }
  const char* name() const override { return name_; }

 private:
  void start();
  void stop();

  const char* name_;
  long domain_;
  int socket_ = -1;
  int child_ = -1;
};

// The control node of two halves: requests of the near half, answers of the far one, in XenStore.
class Far : public Side {
 public:
  // `domain`: where the far half runs. Every operation waits for its answer, 60 s at most.
  Far(std::string control, long domain);
  ~Far() override;

  Answer run(const std::string& verb, const std::vector<long>& arguments) override;
  void die() override;
  long domain() const override { return domain_; }
  const char* name() const override { return "far"; }
  void quit();

 private:
  std::string ask(const std::string& request);

  xs_handle* store_;
  std::string control_;
  long domain_;
  long sequence_ = 0;
};

// The far half's work: obeys the control node until told to quit. Returns the process's status.
int serve(const std::string& control);

}  // namespace displif_cts::contract
