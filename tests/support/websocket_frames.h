// WebSocket frames as a client sends them, right or wrong, and what must come of the wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vigil::test {

inline constexpr int kFin = 0x80;
inline constexpr int kText = 1;
inline constexpr int kBinary = 2;
inline constexpr int kClose = 8;
inline constexpr int kPing = 9;
inline constexpr int kPong = 10;

// Two bytes of head, the second with the mask bit and the length as given, then the rest.
inline std::string raw_frame(int first, int second, std::string_view rest) {
  std::string frame;
  frame += static_cast<char>(first);
  frame += static_cast<char>(second);
  return frame.append(rest);
}

// A masked frame with the shortest form of its length.
inline std::string client_frame(int first, std::string_view payload) {
  constexpr std::string_view kKey = "\x37\xfa\x21\x3d";  // as in RFC 6455 §5.7
  std::string frame;
  std::string length;
  const std::uint64_t size = payload.size();
  const int bytes = size <= 125 ? 0 : size <= 0xFFFF ? 2 : 8;
  for (int i = bytes - 1; i >= 0; --i) length += static_cast<char>(size >> (8 * i) & 0xFF);
  const int short_length = bytes == 0 ? static_cast<int>(size) : bytes == 2 ? 126 : 127;
  frame = raw_frame(first, 0x80 | short_length, length).append(kKey);
  for (std::size_t i = 0; i < payload.size(); ++i) {
    frame += static_cast<char>(payload[i] ^ kKey[i % 4]);
  }
  return frame;
}

inline std::string close_payload(int code, std::string_view reason = {}) {
  return std::string{static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)}.append(reason);
}

struct BadFrames {
  const char* what;  // with its section of RFC 6455
  std::string bytes;
  int code;  // of the close frame that must come
};

// With messages of at most `message_bytes_max` bytes, at least 1,000.
inline std::vector<BadFrames> bad_frames(std::size_t message_bytes_max) {
  const std::string too_big(message_bytes_max + 1, 'x');
  const std::string half(message_bytes_max / 2 + 1, 'x');
  const std::string key = "\x37\xfa\x21\x3d";
  std::vector<BadFrames> cases = {
      {"5.1 unmasked text", raw_frame(kFin | kText, 2, "hi"), 1002},
      {"5.1 unmasked ping", raw_frame(kFin | kPing, 0, ""), 1002},
      {"5.1 unmasked close", raw_frame(kFin | kClose, 2, "\x03\xe8"), 1002},
      {"5.2 RSV1", client_frame(kFin | 0x40 | kText, "hi"), 1002},
      {"5.2 RSV2", client_frame(kFin | 0x20 | kBinary, "hi"), 1002},
      {"5.2 RSV3 on a ping", client_frame(kFin | 0x10 | kPing, ""), 1002},
      {"5.2 reserved opcode 3", client_frame(kFin | 3, "hi"), 1002},
      {"5.2 reserved opcode 7", client_frame(kFin | 7, ""), 1002},
      {"5.2 reserved control opcode 11", client_frame(kFin | 11, ""), 1002},
      {"5.2 reserved control opcode 15", client_frame(kFin | 15, "hi"), 1002},
      {"5.2 length not in its shortest form, 16 bits",
       raw_frame(kFin | kText, 0x80 | 126, std::string("\0\x05", 2) + key + "hello"), 1002},
      {"5.2 length not in its shortest form, 64 bits",
       raw_frame(kFin | kText, 0x80 | 127, std::string("\0\0\0\0\0\0\0\x05", 8) + key + "hello"),
       1002},
      {"5.2 length with its highest bit",
       raw_frame(kFin | kText, 0x80 | 127, std::string("\x80\0\0\0\0\0\0\0", 8) + key + "x"), 1002},
      {"5.4 continuation of nothing", client_frame(kFin, "hi"), 1002},
      {"5.4 continuation of nothing, not the last", client_frame(0, "hi"), 1002},
      {"5.4 continuation behind a whole message",
       client_frame(kFin | kText, "a") + client_frame(kFin, "b"), 1002},
      {"5.4 a text inside a message", client_frame(kText, "a") + client_frame(kFin | kText, "b"),
       1002},
      {"5.4 a binary inside a text", client_frame(kText, "a") + client_frame(kBinary, "b"), 1002},
      {"5.5 fragmented ping", client_frame(kPing, "a"), 1002},
      {"5.5 fragmented close", client_frame(kClose, close_payload(1000)), 1002},
      {"5.5 ping of 126 bytes", client_frame(kFin | kPing, std::string(126, 'p')), 1002},
      {"5.5 close of 126 bytes",
       client_frame(kFin | kClose, close_payload(1000, std::string(124, 'c'))), 1002},
      {"5.5.1 close with half a code", client_frame(kFin | kClose, "\x03"), 1002},
      {"5.5.1 close with a reason that is not UTF-8",
       client_frame(kFin | kClose, close_payload(1000, "\xff")), 1007},
      {"8.1 text that is not UTF-8", client_frame(kFin | kText, "a\xff"), 1007},
      {"8.1 text that ends within a character", client_frame(kFin | kText, "\xe2\x82"), 1007},
      {"8.1 overlong form", client_frame(kFin | kText, "\xc0\xaf"), 1007},
      {"8.1 overlong form of three bytes", client_frame(kFin | kText, "\xe0\x9f\xbf"), 1007},
      {"8.1 surrogate", client_frame(kFin | kText, "\xed\xa0\x80"), 1007},
      {"8.1 above U+10FFFF", client_frame(kFin | kText, "\xf4\x90\x80\x80"), 1007},
      {"8.1 a character cut by fragments, and wrong in the second",
       client_frame(kText, "\xe2\x82") + client_frame(kFin, "("), 1007},
      {"8.1 text that ends within a character, in fragments",
       client_frame(kText, "ok \xe2") + client_frame(kFin, "\x82"), 1007},
      {"7.4.1 1009: too big in one frame", client_frame(kFin | kText, too_big), 1009},
      {"7.4.1 1009: too big in two fragments",
       client_frame(kBinary, half) + client_frame(kFin, half), 1009},
      {"7.4.1 1009: a head that announces 2^62 bytes, with one of them",
       raw_frame(kFin | kBinary, 0x80 | 127, std::string("\x40\0\0\0\0\0\0\0", 8) + key + "x"),
       1009},
  };
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535}) {
    cases.push_back({"7.4 a close code that may not be sent",
                     client_frame(kFin | kClose, close_payload(code)), 1002});
  }
  return cases;
}

}  // namespace vigil::test
