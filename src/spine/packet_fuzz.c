/* Frames in one line: whatever comes, nothing outside it is read and the line stays short. */
#include "base/must.h"
#include "spine/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(1024);

	packet_summary(&out, slice_of(data, size));
	must(out.err == 0);
	buf_done(&out);
	return 0;
}
