#include "fuzzers/linux_frontend/shim/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)  // clang's way to say what gcc says by __SANITIZE_ADDRESS__
#define DISPLIF_CTS_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(DISPLIF_CTS_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#define DISPLIF_CTS_FIBERS_ANNOTATED 1
#endif

namespace displif_cts::shim {
namespace {

constexpr std::size_t kStackSize = 256 * 1024;

Fiber* g_from = nullptr;  // who switched last
Fiber* g_to = nullptr;

}  // namespace

#if defined(__x86_64__)
// ucontext's functions make a system call for the signal mask at each switch; this keeps the
// registers that the ABI has a callee keep.
extern "C" void displif_fiber_switch(void** save, void* load);
asm(R"(
  .text
  .globl displif_fiber_switch
  .type displif_fiber_switch, @function
displif_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size displif_fiber_switch, .-displif_fiber_switch
)");
#endif

void Fiber::begin() {
  arrived();
  g_to->entry_();
  std::abort();
}

// The first thing on the new stack, and the first after each return.
void Fiber::arrived() {
#if defined(DISPLIF_CTS_FIBERS_ANNOTATED)
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(g_to->fake_, &bottom, &size);
  if (g_from->stack_ ==
      nullptr) {  // the thread's own stack: learnt when it is left for the first time
    g_from->stack_ = const_cast<void*>(bottom);
    g_from->size_ = size;
  }
#endif
}

Fiber::Fiber(void (*entry)()) : entry_(entry), size_(kStackSize) {
  stack_ = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack_ == MAP_FAILED) {
    std::perror("displif-cts: no memory for a stack");
    std::exit(3);
  }
#if defined(__x86_64__)
  auto* top = reinterpret_cast<std::uint64_t*>(static_cast<char*>(stack_) + kStackSize);
  *--top = 0;  // the ABI wants a call's alignment
  *--top = reinterpret_cast<std::uint64_t>(&Fiber::begin);
  for (int i = 0; i < 6; ++i) *--top = 0;
  saved_ = top;
#else
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack_;
  context->uc_stack.ss_size = kStackSize;
  context->uc_link = nullptr;
  makecontext(context, &Fiber::begin, 0);
  saved_ = context;
#endif
}

Fiber::~Fiber() {
  if (entry_ != nullptr) munmap(stack_, size_);
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(saved_);
#endif
}

void Fiber::switch_to(Fiber& to) {
  g_from = this;
  g_to = &to;
#if defined(DISPLIF_CTS_FIBERS_ANNOTATED)
  __sanitizer_start_switch_fiber(&fake_, to.stack_, to.size_);
#endif
#if defined(__x86_64__)
  displif_fiber_switch(&saved_, to.saved_);
#else
  if (saved_ == nullptr) saved_ = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(saved_), static_cast<ucontext_t*>(to.saved_));
#endif
  arrived();
}

}  // namespace displif_cts::shim
