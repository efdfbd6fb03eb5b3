// Options of UDP sockets that are younger than some distributions' headers: linux/udp.h, udp(7). The kernel knows them or
// refuses them.
#pragma once

#include <linux/udp.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
