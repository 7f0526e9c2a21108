#include "spine/code/rule_model.h"

static uint32_t get(const uint8_t *at, int bytes)
{
	uint32_t v = 0;

	for (int i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

static u128 get128(const uint8_t *at)
{
	u128 v = 0;

	for (int i = 0; i < 16; i++)
		v = v << 8 | at[i];
	return v;
}

void model_fields(const uint8_t *frame, size_t bytes, u128 out[FIELD_COUNT])
{
	uint32_t type = get(frame + 12, 2);
	const uint8_t *net = frame + 14;
	size_t have = bytes - 14, ports = 0;

	memset(out, 0, FIELD_COUNT * sizeof(out[0]));
	out[FIELD_TYPE] = type;
	if (type == 0x0800 && have >= 20) {
		out[FIELD_TYPE] |= RULE_HEADER;
		out[FIELD_L4] = net[9];
		out[FIELD_SRC4] = get(net + 12, 4);
		out[FIELD_DST4] = get(net + 16, 4);
		ports = (get(net + 6, 2) & 0x1fff) == 0 ? 4u * (net[0] & 15u) : SIZE_MAX / 2;
	} else if (type == 0x86dd && have >= 40) {
		out[FIELD_TYPE] |= RULE_HEADER;
		out[FIELD_L4] = net[6] != 44 ? net[6] : have > 40 ? net[40] | RULE_FRAGMENT : RULE_FRAGMENT_CUT;
		out[FIELD_SRC6] = get128(net + 8);
		out[FIELD_DST6] = get128(net + 24);
		ports = 40;
	} else if ((type == 0x0806 || type == 0x8035) && have >= 28) {
		out[FIELD_TYPE] |= RULE_HEADER;
		out[FIELD_SRC4] = get(net + 14, 4);
		out[FIELD_DST4] = get(net + 24, 4);
	}
	out[FIELD_SPORT] = have >= ports + 2 ? get(net + ports, 2) : RULE_NO_PORT;
	out[FIELD_DPORT] = have >= ports + 4 ? get(net + ports + 2, 2) : RULE_NO_PORT;
}

bool model_matches(const struct rule *r, const u128 fields[FIELD_COUNT])
{
	for (size_t t = 0; t < r->terms.count; t++) {
		bool all = true;

		for (int f = 0; all && f < FIELD_COUNT; f++) {
			const struct ranges *in = r->terms.at[t].field[f];

			all = in == NULL || ranges_has(in, fields[f]);
		}
		if (all)
			return true;
	}
	return false;
}
