/*
 * Which packets are ours, and stateless translation of addresses: SIIT (RFC 7915 with 6052 and 7757) and CLAT (RFC 6877).
 *
 * An address is translated by the explicit mapping with the longest prefix, else by a translation prefix (RFC 7757 3.3). A CLAT
 * is the same with one mapping, that of its own address; only what is ours differs.
 */
#pragma once
#include "nat64/core/address.h"
#include "nat64/core/icmp.h"

/* How an address was translated. */
enum siit_how { SIIT_NOT, SIIT_EAM, SIIT_PREFIX };

XLAT_INLINE const struct xlat_eam *siit_eam6(struct xlat *x, const struct xlat_config *config, const __be32 a[4])
{
	return (config->flags & XLAT_EAM) != 0 && net6_has(&config->eam_span6, a) ? env_eam6(x, a) : NULL;
}

XLAT_INLINE const struct xlat_eam *siit_eam4(struct xlat *x, const struct xlat_config *config, __be32 a)
{
	return (config->flags & XLAT_EAM) != 0 && net4_has(&config->eam_span4, a) ? env_eam4(x, a) : NULL;
}

XLAT_INLINE bool siit_ours6(struct xlat *x, const struct xlat_config *config)
{
	int prefix = prefix_find(config, x->ip.dst);

	if (config->mode == XLAT_CLAT) {
		/* Errors come from any router on the way; that they are about a packet of ours is told by that packet. */
		int source = prefix_find(config, x->flags & XLAT_INNER ? x->inner.dst : x->ip.src);

		if (source < 0 || siit_eam6(x, config, x->ip.dst) == NULL)
			return false;
		x->prefix = (__u32)source;
		return true;
	}
	if (prefix >= 0) {
		x->prefix = (__u32)prefix;
		xlat_step(x, XLAT_S_PREFIX, (__u32)prefix);
		return true;
	}
	if (config->mode != XLAT_SIIT || siit_eam6(x, config, x->ip.dst) == NULL)
		return false;
	/*
	 * A server with a mapping has IPv6 neighbours, too: what they send to it through this host is plain IPv6, and
	 * routable without us (7915 5.6).
	 */
	if (x->flags & XLAT_INNER)
		return prefix_find(config, x->inner.dst) >= 0 || siit_eam6(x, config, x->inner.dst) != NULL;
	return prefix_find(config, x->ip.src) >= 0 || siit_eam6(x, config, x->ip.src) != NULL;
}

XLAT_INLINE bool siit_ours4(struct xlat *x, const struct xlat_config *config)
{
	int row;

	if (config->mode == XLAT_CLAT)
		return !addr_special4(x->ip.dst[0]) && siit_eam4(x, config, x->ip.src[0]) != NULL;
	if (config->mode == XLAT_SIIT && siit_eam4(x, config, x->ip.dst[0]) != NULL)
		return true;
	row = pool_find(config, x->ip.dst[0]);
	if (row < 0)
		return false;
	xlat_step(x, XLAT_S_POOL, (__u32)row);
	return true;
}

/*
 * Whether the packet is for this translator, by its addresses alone (RFC 7915 4.6, 5.6): sets XLAT_OURS, and x->prefix when one has the
 * destination (CLAT: the source). 0: ours; else the verdict is PASS.
 */
XLAT_PART int xlat_ours(struct xlat *x)
{
	const struct xlat_config *config;
	int row;
	bool ours;

	if (x == NULL)
		return -1;
	config = env_config(x);
	if (config == NULL)
		return xlat_pass(x, XLAT_R_NOT_OURS);
	if (x->family == 6)
		row = net6_find(config->pass6, config->pass6_count, XLAT_PASS_MAX, x->ip.dst);
	else
		row = net4_find(config->pass4, config->pass4_count, XLAT_PASS_MAX, x->ip.dst[0]);
	if (row != 0) {
		xlat_step(x, XLAT_S_PASS_LIST, (__u32)row - 1);
		return xlat_pass(x, XLAT_R_PASS_LIST);
	}
	x->prefix = 0;
	ours = x->family == 6 ? siit_ours6(x, config) : x->family == 4 && siit_ours4(x, config);
	if (!ours)
		return xlat_pass(x, XLAT_R_NOT_OURS);
	x->flags |= XLAT_OURS;
	return 0;
}

/* An IPv4 address that a prefix has. Sources of ICMP errors may be anything: "for the purpose of trouble shooting" (7915 4.1). */
XLAT_INLINE __u32 siit_allowed(const struct xlat_prefix *p, __be32 address)
{
	if (addr_special4(address))
		return XLAT_R_SPECIAL_ADDRESS;
	return p->global_only && !addr_global4(address) ? XLAT_R_WELL_KNOWN_PREFIX : XLAT_R_NONE;
}

/*
 * IPv6 to IPv4. XLAT_R_NONE with *out; `untranslatable` when neither rule has it; or what is wrong with it.
 */
XLAT_INLINE __u32 siit_to4(struct xlat *x, const struct xlat_config *config, const __be32 a[4], bool any, __u32 untranslatable,
			   enum xlat_step_id step, __be32 *out, enum siit_how *how)
{
	const struct xlat_eam *e = siit_eam6(x, config, a);
	int prefix;

	if (e != NULL) {
		*out = eam_to4(e, a);
		*how = SIIT_EAM;
		xlat_step(x, step, e->row);
		return XLAT_R_NONE;
	}
	*how = SIIT_NOT;
	prefix = prefix_find(config, a);
	if (prefix < 0)
		return addr_special6(a) ? XLAT_R_SPECIAL_ADDRESS : untranslatable;
	if (!prefix_extract(&config->prefix[prefix & (XLAT_PREFIXES_MAX - 1)], a, out))
		return XLAT_R_U_OCTET;
	*how = SIIT_PREFIX;
	return any ? XLAT_R_NONE : siit_allowed(&config->prefix[prefix & (XLAT_PREFIXES_MAX - 1)], *out);
}

/* IPv4 to IPv6; `plain`: by the prefix even if a mapping has it (hairpinning). */
XLAT_INLINE __u32 siit_to6(struct xlat *x, const struct xlat_config *config, __be32 a, bool any, bool plain, enum xlat_step_id step, __be32 out[4])
{
	const struct xlat_eam *e = plain ? NULL : siit_eam4(x, config, a);
	const struct xlat_prefix *p = &config->prefix[x->prefix & (XLAT_PREFIXES_MAX - 1)];
	__u32 reason;

	if (e != NULL) {
		eam_to6(e, a, out);
		xlat_step(x, step, e->row);
		return XLAT_R_NONE;
	}
	if (config->prefix_count == 0)
		return step == XLAT_S_EAM_SOURCE ? XLAT_R_SOURCE_UNTRANSLATABLE : XLAT_R_DESTINATION_UNTRANSLATABLE;
	reason = any ? XLAT_R_NONE : siit_allowed(p, a);
	if (reason == XLAT_R_NONE)
		prefix_embed(p, a, out);
	if (step == XLAT_S_EAM_SOURCE)
		xlat_step(x, XLAT_S_PREFIX_SOURCE, x->prefix);
	return reason;
}

/*
 * The IPv4 source of an ICMP error from an IPv6 router that has none (RFC 6791 3): of the pool, the same one for the same router; without a pool the
 * dummy address (RFC 7600; draft-ietf-v6ops-icmpext-xlat-v6only-source).
 */
XLAT_INLINE __be32 siit_error_source(const struct xlat_config *config, const __be32 a[4])
{
	__u64 hash = config->key[0];
	const struct xlat_net4 *net;

	if (config->error_count == 0)
		return XLAT_DUMMY4;
	for (__u32 i = 0; i < 4; i++) {
		hash = (hash ^ (__u32)a[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	net = &config->error_pool[(__u32)(hash >> 32) % config->error_count & (XLAT_ERROR_POOL_MAX - 1)];
	return (net->addr & net->mask) | ((__be32)(__u32)hash & ~net->mask);
}

/* The packet inside an error, IPv6 to IPv4. */
XLAT_PART int siit_inner4(struct xlat *x)
{
	const struct xlat_config *config;
	enum siit_how how_src, how_dst;
	__be32 src = 0, dst = 0;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_ICMP_INNER);
	if (siit_to4(x, config, x->inner.src, false, XLAT_R_ICMP_INNER, XLAT_S_EAM_SOURCE, &src, &how_src) != XLAT_R_NONE ||
	    siit_to4(x, config, x->inner.dst, false, XLAT_R_ICMP_INNER, XLAT_S_EAM_DESTINATION, &dst, &how_dst) != XLAT_R_NONE)
		return xlat_drop(x, XLAT_R_ICMP_INNER);
	addr_set4(x->inner_to.src, src);
	addr_set4(x->inner_to.dst, dst);
	x->inner_to.family = 4;
	x->inner_to.sport = x->inner.sport;
	x->inner_to.dport = x->inner.dport;
	/* An error about a hairpinned packet, which goes back the same way (RFC 7757 4.2.2). */
	if (config->hairpin_eam == 2 && how_src == SIIT_PREFIX && siit_eam4(x, config, src) != NULL)
		x->flags |= XLAT_HAIRPINNED;
	xlat_step(x, XLAT_S_ICMP_INNER, 0);
	return 0;
}

/* The same, IPv4 to IPv6, of `src` and `dst`: those of x->inner, or of x->inner_to after the first half of hairpinning. */
XLAT_PART int siit_inner6(struct xlat *x, __be32 src, __be32 dst)
{
	const struct xlat_config *config;
	bool plain;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_ICMP_INNER);
	/* Who sent it knew the other by the prefix (RFC 7757 4.2.1): so it has to be named in what it gets back. */
	plain = x->flags & XLAT_HAIRPINNED || (config->hairpin_eam == 1 && siit_eam4(x, config, src) != NULL);
	if (siit_to6(x, config, src, false, false, XLAT_S_EAM_SOURCE, x->inner_to.src) != XLAT_R_NONE ||
	    siit_to6(x, config, dst, false, plain, XLAT_S_EAM_DESTINATION, x->inner_to.dst) != XLAT_R_NONE)
		return xlat_drop(x, XLAT_R_ICMP_INNER);
	x->inner_to.family = 6;
	x->inner_to.sport = x->inner.sport;
	x->inner_to.dport = x->inner.dport;
	xlat_step(x, XLAT_S_ICMP_INNER, 0);
	return 0;
}

/* From IPv4 addresses to x->to. */
XLAT_PART int siit_outer6(struct xlat *x, __be32 src, __be32 dst)
{
	const struct xlat_config *config;
	bool plain, error;
	__u32 reason;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_DESTINATION_UNTRANSLATABLE);
	error = (x->flags & XLAT_INNER) != 0;
	/*
	 * Hairpinning: the source is named by the prefix, else answers would not come back through here (RFC 7757 4.1). A router
	 * on the way that reports an error keeps its own name.
	 */
	plain = x->flags & XLAT_HAIRPINNED || (config->hairpin_eam == 1 && siit_eam4(x, config, dst) != NULL);
	if (error && src != (x->ip.family == 4 ? x->inner.dst[0] : x->inner_to.dst[0]))
		plain = false;
	reason = siit_to6(x, config, dst, false, false, XLAT_S_EAM_DESTINATION, x->to.dst);
	if (reason == XLAT_R_NONE)
		reason = siit_to6(x, config, src, error, plain, XLAT_S_EAM_SOURCE, x->to.src);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, (enum xlat_reason)reason);
	x->to.family = 6;
	return 0;
}

/* From IPv6 addresses to IPv4 ones in x->to; HAIRPINNED when they name an inside host. */
XLAT_PART int siit_outer4(struct xlat *x)
{
	const struct xlat_config *config;
	enum siit_how how = SIIT_NOT;
	__be32 src = 0, dst = 0;
	__u32 reason;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_DESTINATION_UNTRANSLATABLE);
	reason = siit_to4(x, config, x->ip.dst, false, XLAT_R_DESTINATION_UNTRANSLATABLE, XLAT_S_EAM_DESTINATION, &dst, &how);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, (enum xlat_reason)reason);
	if (!(x->flags & XLAT_INNER) && config->hairpin_eam == 2 && how == SIIT_PREFIX && siit_eam4(x, config, dst) != NULL)
		x->flags |= XLAT_HAIRPINNED;
	reason = siit_to4(x, config, x->ip.src, (x->flags & XLAT_INNER) != 0, XLAT_R_SOURCE_UNTRANSLATABLE, XLAT_S_EAM_SOURCE, &src, &how);
	if (reason == XLAT_R_NONE && how == SIIT_PREFIX)
		xlat_step(x, XLAT_S_PREFIX_SOURCE, 0);
	if (reason != XLAT_R_NONE && x->flags & XLAT_INNER && how == SIIT_NOT) {
		src = siit_error_source(config, x->ip.src);
		reason = XLAT_R_NONE;
	}
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, (enum xlat_reason)reason);
	addr_set4(x->to.src, src);
	addr_set4(x->to.dst, dst);
	x->to.family = 4;
	return 0;
}

/* x->ip -> x->to, x->inner -> x->inner_to, and the flag HAIRPINNED. 0, or the verdict is set. */
XLAT_PART int xlat_stateless(struct xlat *x)
{
	int r;

	if (x == NULL)
		return XLAT_DROP;
	x->to.sport = x->ip.sport;
	x->to.dport = x->ip.dport;
	if (x->ip.family == 4) {
		if (x->flags & XLAT_INNER && (r = siit_inner6(x, x->inner.src[0], x->inner.dst[0])) != 0)
			return r;
		return siit_outer6(x, x->ip.src[0], x->ip.dst[0]);
	}
	if (x->flags & XLAT_INNER && (r = siit_inner4(x)) != 0)
		return r;
	r = siit_outer4(x);
	if (r != 0 || !(x->flags & XLAT_HAIRPINNED))
		return r;
	xlat_step(x, XLAT_S_HAIRPIN, 0);
	/* The second half. First the outer addresses, which look at the inner ones of the first half. */
	r = siit_outer6(x, x->to.src[0], x->to.dst[0]);
	if (r == 0 && x->flags & XLAT_INNER)
		r = siit_inner6(x, x->inner_to.src[0], x->inner_to.dst[0]);
	return r;
}
