#include "sampler/sigsafe/thread_work.h"

namespace vigil::sampler::sigsafe {

constinit thread_local WorkCell t_work [[gnu::tls_model("initial-exec")]];

}  // namespace vigil::sampler::sigsafe
