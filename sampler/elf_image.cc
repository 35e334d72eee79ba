#include "sampler/elf_image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "sampler/memory_reader.h"

namespace vigil::sampler {
namespace {

constexpr std::size_t kProgramHeadersMax = 256;
constexpr std::size_t kNoteBytesMax = 4096;
constexpr std::size_t kBuildIdBytesMax = 64;
// Larger than any address space that user programs get (57 bits): a sum below it cannot have
// wrapped around.
constexpr std::uint64_t kAddressMax = std::uint64_t{1} << 57;

bool is_usable_header(const Elf64_Ehdr& header) {
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
         header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB &&
         header.e_machine == EM_X86_64 && header.e_phentsize == sizeof(Elf64_Phdr) &&
         header.e_phnum > 0 && header.e_phnum <= kProgramHeadersMax &&
         header.e_phoff < kAddressMax && (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

bool is_usable_load(const Elf64_Phdr& segment) {
  return segment.p_vaddr < kAddressMax && segment.p_memsz < kAddressMax &&
         segment.p_offset < kAddressMax;
}

// Memory address less ELF address, from the segment that holds the file's first byte.
std::optional<std::uintptr_t> find_load_bias(std::uintptr_t header,
                                             std::span<const Elf64_Phdr> segments) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD || segment.p_offset >= kPageBytes) continue;
    return header - (segment.p_vaddr - segment.p_offset);
  }
  return std::nullopt;
}

std::string lower_hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

// The GNU build-id among the notes in `notes` (elf(5), Notes); empty if there is none.
std::string find_build_id(std::span<const std::byte> notes) {
  constexpr auto padded = [](std::size_t size) { return (size + 3) / 4 * 4; };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    notes = notes.subspan(sizeof note);
    const std::size_t name_bytes = padded(note.n_namesz);
    if (name_bytes > notes.size() || note.n_descsz > notes.size() - name_bytes) return {};
    const auto name = notes.first(note.n_namesz);
    const auto description = notes.subspan(name_bytes, note.n_descsz);
    if (note.n_type == NT_GNU_BUILD_ID && name.size() == 4 &&
        std::memcmp(name.data(), "GNU", 4) == 0 && description.size() <= kBuildIdBytesMax) {
      return lower_hex(description);
    }
    notes = notes.subspan(std::min(notes.size(), name_bytes + padded(note.n_descsz)));
  }
  return {};
}

std::string read_build_id(std::uintptr_t address, std::uint64_t bytes) {
  std::vector<std::byte> notes(std::min<std::uint64_t>(bytes, kNoteBytesMax));
  return read_memory(address, notes) ? find_build_id(notes) : std::string();
}

// .eh_frame_hdr: version, three encodings, pointer to .eh_frame, count, table. Only the encodings
// that every linker writes are taken: pcrel or datarel sdata4 for the pointer, udata4 for the
// count, datarel sdata4 for the table.
std::optional<UnwindTable> read_unwind_table(std::uintptr_t address, std::uint64_t bytes) {
  struct Header {
    std::uint8_t version;
    std::uint8_t pointer_encoding;
    std::uint8_t count_encoding;
    std::uint8_t table_encoding;
    std::uint32_t eh_frame;
    std::uint32_t count;
  };
  constexpr std::uint8_t kUdata4 = 0x03;
  constexpr std::uint8_t kSdata4 = 0x0b;
  constexpr std::uint8_t kPcrel = 0x10;
  constexpr std::uint8_t kDatarel = 0x30;
  constexpr std::uint64_t kEntryBytes = 8;
  const auto header = read_object<Header>(address);
  if (!header || header->version != 1 || header->count_encoding != kUdata4 ||
      header->table_encoding != (kDatarel | kSdata4) ||
      (header->pointer_encoding != (kPcrel | kSdata4) &&
       header->pointer_encoding != (kDatarel | kSdata4))) {
    return std::nullopt;
  }
  if (bytes < sizeof(Header) || header->count == 0 ||
      header->count > (bytes - sizeof(Header)) / kEntryBytes) {
    return std::nullopt;
  }
  return UnwindTable{address, address + sizeof(Header), header->count};
}

// Takes one program header into `image`; false if it makes no sense.
bool add_segment(ElfImage& image, const Elf64_Phdr& segment) {
  const std::uintptr_t start = image.load_bias + segment.p_vaddr;
  const std::uintptr_t end = start + segment.p_memsz;
  if (segment.p_type == PT_LOAD) {
    if (!is_usable_load(segment) || end < start || end > kAddressMax) return false;
    image.image_start = std::min(image.image_start, start);
    image.image_end = std::max(image.image_end, end);
    if ((segment.p_flags & PF_X) != 0 && end > start) {
      image.code.push_back({start, end, segment.p_offset});
    }
  } else if (segment.p_type == PT_NOTE && image.build_id.empty()) {
    image.build_id = read_build_id(start, segment.p_memsz);
  } else if (segment.p_type == PT_GNU_EH_FRAME) {
    image.unwind_table = read_unwind_table(start, segment.p_memsz);
  }
  return true;
}

}  // namespace

std::optional<ElfImage> read_elf_image(std::uintptr_t header_address) {
  const auto header = read_object<Elf64_Ehdr>(header_address);
  if (!header || !is_usable_header(*header)) return std::nullopt;
  std::vector<Elf64_Phdr> segments(header->e_phnum);
  if (!read_memory(header_address + header->e_phoff, std::as_writable_bytes(std::span(segments)))) {
    return std::nullopt;
  }
  const auto bias = find_load_bias(header_address, segments);
  if (!bias) return std::nullopt;
  ElfImage image;
  image.load_bias = *bias;
  image.image_start = UINTPTR_MAX;
  for (const Elf64_Phdr& segment : segments) {
    if (!add_segment(image, segment)) return std::nullopt;
  }
  if (image.image_start >= image.image_end) return std::nullopt;  // all segments are empty
  return image;
}

}  // namespace vigil::sampler
