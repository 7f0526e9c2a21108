#include "spine/confine.h"

#include "policy/service.h"
#include "sys/sandbox.h"

int spine_confine(struct errmsg *why)
{
	struct sandbox box = { .flags = SANDBOX_BPF };
	struct sandbox_report report;
	struct service_floor floor;
	int err = policy_service_floor(NULL, "spine", &floor, why);

	box.capabilities = err == 0 ? floor.capabilities : 0;
	return err != 0 ? err : sandbox_apply(&box, &report, why);
}
