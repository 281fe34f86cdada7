#include "shared_memory.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <unordered_map>

namespace emulated {
namespace {

struct Symbol {
    std::string name;
    char* start;
    size_t bytes;
};
struct Symbols {
    std::vector<Symbol> shared;
    std::unordered_map<const void*, std::string> kernels;
};

// The tagged names among this module's symbols. Not dlsym's: most are local, and only the file has those.
Symbols read_symbols() {
    Dl_info self;
    if (!dladdr(reinterpret_cast<void*>(&read_symbols), &self)) throw std::runtime_error("emulation: dladdr found nothing");
    std::ifstream file(self.dli_fname, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    auto* header = reinterpret_cast<const ElfW(Ehdr)*>(bytes.data());
    auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes.data() + header->e_shoff);
    Symbols found;
    for (int i = 0; i < header->e_shnum; ++i) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const char* names = bytes.data() + sections[sections[i].sh_link].sh_offset;
        auto* symbol = reinterpret_cast<const ElfW(Sym)*>(bytes.data() + sections[i].sh_offset);
        for (auto* end = symbol + sections[i].sh_size / sizeof *symbol; symbol != end; ++symbol) {
            std::string name = names + symbol->st_name;
            char* start = static_cast<char*>(self.dli_fbase) + symbol->st_value;
            int type = ELF64_ST_TYPE(symbol->st_info);
            if (type == STT_OBJECT && name.rfind("_ZZ", 0) == 0 && name.find("B6shared") != std::string::npos)
                found.shared.push_back({name, start, symbol->st_size});
            if (type == STT_FUNC && name.rfind("_ZZ", 0) != 0 && name.find("B6kernel") != std::string::npos)
                found.kernels.emplace(start, name);
        }
    }
    if (found.kernels.empty()) throw std::runtime_error("emulation: the module has no symbol table; it must not be stripped");
    return found;
}

// "own" of "void render_kernel[abi:kernel]<3>(RenderArgs, int)::own[abi:shared]".
std::string short_name(const std::string& mangled) {
    char* full = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, nullptr);
    std::string name = full ? full : mangled;
    std::free(full);
    name = name.substr(0, name.rfind("[abi:shared]"));
    size_t at = name.rfind("::");
    return at == std::string::npos ? name : name.substr(at + 2);
}

}  // namespace

const std::vector<Variable>& shared_variables(const void* kernel) {
    static const Symbols symbols = read_symbols();
    static std::unordered_map<const void*, std::vector<Variable>> known;
    auto at = known.find(kernel);
    if (at != known.end()) return at->second;
    auto name = symbols.kernels.find(kernel);
    if (name == symbols.kernels.end()) throw std::runtime_error("emulation: a kernel that is not __global__");
    const std::string own = "_ZZ" + name->second.substr(2) + "E";
    std::vector<Variable> variables;
    for (const Symbol& s : symbols.shared)
        if (s.name.rfind(own, 0) == 0 || s.name.find("B6kernel") == std::string::npos)
            variables.push_back({s.start, s.bytes, short_name(s.name)});
    return known.emplace(kernel, std::move(variables)).first->second;
}

Range module_memory() {
    static const Range range = [] {
        Range found{0, 0};
        dl_iterate_phdr(
            [](dl_phdr_info* info, size_t, void* out) {
                auto self = reinterpret_cast<uintptr_t>(&module_memory);
                Range r{UINTPTR_MAX, 0};
                for (int i = 0; i < info->dlpi_phnum; ++i) {
                    const ElfW(Phdr) & part = info->dlpi_phdr[i];
                    if (part.p_type != PT_LOAD) continue;
                    uintptr_t begin = info->dlpi_addr + part.p_vaddr;
                    if (begin < r.begin) r.begin = begin;
                    if (begin + part.p_memsz > r.end) r.end = begin + part.p_memsz;
                }
                if (self < r.begin || self >= r.end) return 0;
                *static_cast<Range*>(out) = r;
                return 1;
            },
            &found);
        return found;
    }();
    return range;
}

}  // namespace emulated
