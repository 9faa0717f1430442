# Servers of pages and of datagrams behind IPv6 VIPs. Docker publishes host ports on IPv4 alone, so they listen on their node's IPv6 address
# themselves: no network of their own, and a port of Nomad's host network "ipv6", as the lab's agents have it. Nomad registers that
# address with Consul. The director rewrites the client's address (masq + SNAT), as with IPv4.
# Run: nomad job run jobs/ipv6.nomad.hcl, then: curl http://[fd6e:6f6d:6164::1:29]/
variable "vip" {
  type    = string
  default = "[fd6e:6f6d:6164::1:29]:80"
}

variable "echo_vip" {
  type    = string
  default = "[fd6e:6f6d:6164::1:33]:7"
}

variable "count" {
  type    = number
  default = 1
}

variable "echo_count" {
  type    = number
  default = 1
}

variable "release" {
  type    = string
  default = "1"
}

job "ipv6" {
  datacenters = ["*"]

  group "servers" {
    count = var.count

    # Over all nodes, where there are several.
    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "www" {
        host_network = "ipv6"
      }
    }

    service {
      name         = "ipv6-servers"
      provider     = "consul"
      port         = "www"
      address_mode = "host"
      tags         = ["ipvs.vip=${var.vip}", "ipvs.scheduler=rr", "ipvs.snat=true"]

      check {
        type     = "http"
        path     = "/"
        interval = "1s"
        # Long: of a single instance that a busy machine keeps from answering, Consul says that it is critical.
        timeout = "10s"
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
    }

    task "web" {
      driver = "docker"

      config {
        image        = "busybox:1"
        command      = "httpd"
        args         = ["-v", "-f", "-p", "[${NOMAD_IP_www}]:${NOMAD_PORT_www}", "-h", "/local"]
        network_mode = "host"
      }

      template {
        data        = "ipv6: release ${var.release}\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }

  group "echoes" {
    count = var.echo_count

    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "echo" {
        host_network = "ipv6"
      }
    }

    # Without a check: Consul's are for TCP.
    service {
      name         = "ipv6-echoes"
      provider     = "consul"
      port         = "echo"
      address_mode = "host"
      tags         = ["ipvs.vip=udp://${var.echo_vip}", "ipvs.scheduler=rr", "ipvs.snat=true"]
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
    }

    task "echo" {
      driver = "docker"
      # The server is its container's first process, to which SIGTERM does nothing.
      kill_signal = "SIGKILL"

      config {
        image        = "echo:1"
        command      = "/echo"
        args         = ["[${NOMAD_IP_echo}]:${NOMAD_PORT_echo}"]
        network_mode = "host"
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
