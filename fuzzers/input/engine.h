// What an engine (libFuzzer, AFL++) calls to make new inputs. A target says once, by defining
// target_roles(), which kinds of action it takes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace displif_cts::fuzz {

// Defined by each target; see Role.
unsigned target_roles();

// A new input of at most `room` octets in `out`, from one or two old ones (either may be no input
// at all), for a target of these roles. Returns its size, 0 when not even the smallest fits.
std::size_t mutate_octets(unsigned roles, const std::uint8_t* octets, std::size_t size,
                          std::uint8_t* out, std::size_t room, std::uint64_t seed);
std::size_t cross_octets(unsigned roles, const std::uint8_t* one, std::size_t one_size,
                         const std::uint8_t* other, std::size_t other_size, std::uint8_t* out,
                         std::size_t room, std::uint64_t seed);

}  // namespace displif_cts::fuzz
