/*
 * The host side of the load balancer: services and back ends in the maps of balancer.bpf.c.
 *
 * The maps are the only state, so there is nothing to restore after a restart of ours. Each change
 * computes the table of one service into the half that is not read and switches with one write; a new
 * back end is complete before the table names it, and one that leaves is out of the table before it goes.
 * One writer at a time: callers hold the device's lock. Health may be set at any time, by a message, too.
 */
#pragma once
#include "base/attr.h"
#include "base/errmsg.h"
#include "base/slice.h"
#include "spine/extensions/balancer.h"

struct balance {
	int services, backends, health, tables, vips, service_counts, backend_counts, events;
	int cpus;
};

/* Open the maps in a directory of bpffs. 0 or negative errno with a sentence; balance_close in any case. */
MUST_USE int balance_open(const char *directory, struct balance *out, struct errmsg *why);
void balance_close(struct balance *b);

/* "10.0.0.1" or "fd00::1" -> 16 bytes; false when it is none. */
MUST_USE bool balance_address(struct slice text, uint32_t out[4]);
bool balance_is_v4(const uint32_t address[4]);
/* "tcp/10.0.0.1:80", "udp/[fd00::1]:53"; false with a sentence what is wrong. */
MUST_USE bool balance_vip(struct slice text, struct balancer_vip *out, struct errmsg *why);

#define BALANCE_NAME_BYTES 64
/* The same as text. */
void balance_address_text(const uint32_t address[4], char out[BALANCE_NAME_BYTES]);
void balance_vip_text(const struct balancer_vip *vip, char out[BALANCE_NAME_BYTES]);

/* Its index, or -ENOENT with a sentence. */
MUST_USE int balance_find(const struct balance *b, const struct balancer_vip *vip, struct errmsg *why);
MUST_USE int balance_find_backend(const struct balance *b, uint32_t service, const uint32_t address[4],
				  struct errmsg *why);

/* 0; -EEXIST, -ENOENT, -ENOSPC (full), or what the kernel said, with a sentence. */
MUST_USE int balance_add(const struct balance *b, const struct balancer_vip *vip, enum balancer_method method,
			 bool by_client, struct errmsg *why);
MUST_USE int balance_delete(const struct balance *b, uint32_t service, struct errmsg *why);
/*
 * source  outer source address of tunnels, of the family of address; zeros when not needed
 * An address that the service has already gets the new weight and source and keeps its flows.
 */
MUST_USE int balance_add_backend(const struct balance *b, uint32_t service, const uint32_t address[4],
				 const uint32_t source[4], uint32_t weight, struct errmsg *why);
MUST_USE int balance_delete_backend(const struct balance *b, uint32_t service, uint32_t backend,
				    struct errmsg *why);
MUST_USE int balance_set_health(const struct balance *b, uint32_t backend, enum balancer_health health,
				struct errmsg *why);

/* False: no such entry. */
bool balance_service(const struct balance *b, uint32_t index, struct balancer_service *out);
bool balance_backend(const struct balance *b, uint32_t index, struct balancer_backend *out);
enum balancer_health balance_health(const struct balance *b, uint32_t index);
/* Sums over all processors. */
void balance_service_count(const struct balance *b, uint32_t index, struct balancer_count *out);
void balance_backend_count(const struct balance *b, uint32_t index, struct balancer_count *out);
uint64_t balance_event(const struct balance *b, enum balancer_event event);
