#include "nat64/bpf/object.h"

#ifdef NAT64_OBJECT
extern const uint8_t nat64_object_begin[] __attribute__((visibility("hidden")));	/* object_data.S */
extern const uint8_t nat64_object_end[] __attribute__((visibility("hidden")));

struct slice nat64_object(void)
{
	return (struct slice){ nat64_object_begin, (size_t)(nat64_object_end - nat64_object_begin) };
}
#else
struct slice nat64_object(void)
{
	return (struct slice){ 0 };
}
#endif
