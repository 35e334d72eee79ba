#include "tests/support/http2_frames.h"

#include <algorithm>
#include <cstdlib>

namespace vigil::test::h2 {

std::string number(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload) {
  std::string out = number(static_cast<std::uint32_t>(payload.size()), 3);
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  return out.append(number(stream)).append(payload);
}

namespace {

// A string literal of RFC 7541 §5.2.
std::string literal(std::string_view text) {
  std::string out;
  std::size_t size = text.size();
  if (size < 127) {
    out.push_back(static_cast<char>(size));
  } else {
    out.push_back(127);
    for (size -= 127; size >= 128; size /= 128) out.push_back(static_cast<char>(size % 128 + 128));
    out.push_back(static_cast<char>(size));
  }
  return out.append(text);
}

}  // namespace

std::string block(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    out.push_back(0);
    out.append(literal(name)).append(literal(value));
  }
  return out;
}

std::string headers(std::uint32_t stream, const Fields& fields, std::uint8_t flags) {
  return frame(kHeaders, flags, stream, block(fields));
}

Fields request_fields(const std::string& method, const std::string& path, const Fields& more) {
  Fields fields = {
      {":method", method}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::string get(std::uint32_t stream, const std::string& path, const Fields& more) {
  return headers(stream, request_fields("GET", path, more));
}

std::string post(std::uint32_t stream, const std::string& path, const Fields& more) {
  return headers(stream, request_fields("POST", path, more), kEndHeaders);
}

std::string data(std::uint32_t stream, std::string_view bytes, std::uint8_t flags) {
  return frame(kData, flags, stream, bytes);
}

std::string settings(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& values) {
  std::string payload;
  for (const auto& [id, value] : values) payload.append(number(id, 2)).append(number(value));
  return frame(kSettings, kNone, 0, payload);
}

std::string settings_ack() { return frame(kSettings, kAck, 0); }

std::string ping(std::string_view eight_bytes, std::uint8_t flags) {
  return frame(kPing, flags, 0, eight_bytes);
}

std::string rst(std::uint32_t stream, std::uint32_t error) {
  return frame(kRstStream, kNone, stream, number(error));
}

std::string window_update(std::uint32_t stream, std::uint32_t increment) {
  return frame(kWindowUpdate, kNone, stream, number(increment));
}

std::string error_name(std::uint32_t error) {
  static constexpr const char* kNames[] = {"NO_ERROR",
                                           "PROTOCOL_ERROR",
                                           "INTERNAL_ERROR",
                                           "FLOW_CONTROL_ERROR",
                                           "SETTINGS_TIMEOUT",
                                           "STREAM_CLOSED",
                                           "FRAME_SIZE_ERROR",
                                           "REFUSED_STREAM",
                                           "CANCEL",
                                           "COMPRESSION_ERROR",
                                           "CONNECT_ERROR",
                                           "ENHANCE_YOUR_CALM",
                                           "INADEQUATE_SECURITY",
                                           "HTTP_1_1_REQUIRED"};
  return error < std::size(kNames) ? kNames[error] : std::to_string(error);
}

std::uint32_t Frame::word(std::size_t offset) const {
  std::uint32_t value = 0;
  for (std::size_t i = offset; i < offset + 4 && i < payload.size(); ++i) {
    value = value << 8 | static_cast<std::uint8_t>(payload[i]);
  }
  return value;
}

std::string Response::header(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return "";
}

Reader::Reader() {
  if (nghttp2_hd_inflate_new(&inflater_) != 0) std::abort();
}

Reader::~Reader() { nghttp2_hd_inflate_del(inflater_); }

void Reader::feed(std::string_view bytes) {
  constexpr std::size_t kHead = 9;
  bytes_.append(bytes);
  while (bytes_.size() >= kHead) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes_[i]); };
    const std::size_t size = std::size_t{byte(0)} << 16 | std::size_t{byte(1)} << 8 | byte(2);
    if (size > 16384 || byte(3) > kContinuation) {
      sound_ = false;
      return;
    }
    if (bytes_.size() < kHead + size) return;
    Frame frame;
    frame.type = byte(3);
    frame.flags = byte(4);
    frame.payload = bytes_.substr(5, 4);
    frame.stream = frame.word();
    frame.payload = bytes_.substr(kHead, size);
    bytes_.erase(0, kHead + size);
    take(frame);
  }
}

std::string Reader::take_text() { return std::exchange(text_, {}); }

void Reader::take(const Frame& frame) {
  const std::string id = std::to_string(frame.stream);
  Response* response = frame.stream != 0 ? &responses_[frame.stream] : nullptr;
  switch (frame.type) {
    case kHeaders:
    case kContinuation:
      return take_headers(frame);
    case kSettings:
      return take_settings(frame);
    case kData:
      sound_ = sound_ && response != nullptr && (frame.flags & kPadded) == 0;
      if (!sound_) return;
      response->body += frame.payload;
      response->ended |= (frame.flags & kEndStream) != 0;
      data_bytes_ += frame.payload.size();
      text_ += "DATA " + id + " " + std::to_string(frame.payload.size()) +
               ((frame.flags & kEndStream) != 0 ? " END\n" : "\n");
      return;
    case kRstStream:
      if (response != nullptr) response->reset = error_name(frame.word());
      text_ += "RST " + id + " " + error_name(frame.word()) + "\n";
      return;
    case kPing:
      if ((frame.flags & kAck) == 0) answers_ += ping(frame.payload, kAck);
      text_ += (frame.flags & kAck) != 0 ? "PONG\n" : "PING\n";
      return;
    case kGoaway:
      goaways_.push_back(std::to_string(frame.word()) + " " + error_name(frame.word(4)));
      text_ += "GOAWAY " + goaways_.back() + "\n";
      return;
    default:
      return;
  }
}

void Reader::take_settings(const Frame& frame) {
  if ((frame.flags & kAck) != 0) return;
  answers_ += settings_ack();
  for (std::size_t at = 0; at + 6 <= frame.payload.size(); at += 6) {
    const auto id = static_cast<std::uint16_t>(frame.word(at) >> 16);
    settings_[id] = frame.word(at + 2);
  }
}

void Reader::take_headers(const Frame& frame) {
  block_ += frame.payload;
  Response& response = responses_[frame.stream];
  if (frame.type == kHeaders) response.ended |= (frame.flags & kEndStream) != 0;
  if ((frame.flags & kEndHeaders) == 0) return;
  const Fields fields = decode(std::exchange(block_, {}));
  text_ += "HEADERS " + std::to_string(frame.stream);
  if (!fields.empty() && fields.front().first == ":status") {
    const int status = std::atoi(fields.front().second.c_str());
    if (status < 200) {
      response.informed.push_back(status);
    } else {
      response.status = status;
      response.fields = fields;
    }
    text_ += " " + std::to_string(status);
  } else {
    response.trailers = fields;
    text_ += " trailers";
  }
  text_ += response.ended ? " END\n" : "\n";
}

Fields Reader::decode(std::string_view block) {
  Fields fields;
  const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
  std::size_t left = block.size();
  while (true) {
    nghttp2_nv nv;
    int flags = 0;
    const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &nv, &flags, at, left, 1);
    if (used < 0) {
      sound_ = false;
      break;
    }
    at += used;
    left -= static_cast<std::size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      fields.emplace_back(std::string(reinterpret_cast<char*>(nv.name), nv.namelen),
                          std::string(reinterpret_cast<char*>(nv.value), nv.valuelen));
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_);
  return fields;
}

}  // namespace vigil::test::h2
