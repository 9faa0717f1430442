# Servers of datagrams behind one UDP VIP: each answers with the client's address as it sees it, its allocation, and what it was sent.
# Nothing in a datagram says that a client is done, so whoever sends from one port again and again stays with its server, and goes
# over to another when that one goes. With -var forward=dr the answers by-pass the director, and the server sees the client itself.
# Run: nomad job run -var vip=198.18.0.33:7 jobs/udp-echo.nomad.hcl
# Ask: cargo lab exec client -- bash -c 'exec 3<>/dev/udp/198.18.0.33/7; echo hello >&3; head -n 1 <&3'
variable "vip" {
  type    = string
  default = "198.18.0.33:7"
}

variable "count" {
  type    = number
  default = 2
}

variable "forward" {
  type    = string
  default = "masq"
}

job "udp-echo" {
  datacenters = ["*"]

  group "servers" {
    count = var.count

    # Over all nodes, where there are several.
    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "echo" {
        to = 7
      }
    }

    # Without a check: Consul's are for TCP, and the director tries for itself whether somebody listens.
    service {
      name         = "udp-echo-servers"
      provider     = "consul"
      port         = "echo"
      address_mode = "host"
      tags = concat(
        ["ipvs.vip=udp://${var.vip}", "ipvs.scheduler=rr", "ipvs.forward=${var.forward}"],
        var.forward == "masq" ? ["ipvs.snat=true"] : [],
      )
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
    }

    task "echo" {
      driver = "docker"
      # The server is its container's first process, to which SIGTERM does nothing: it shall end at once, and not five seconds later.
      kill_signal = "SIGKILL"

      config {
        image   = "echo:1"
        command = "/echo"
        args    = ["0.0.0.0:${NOMAD_PORT_echo}"]
        ports   = ["echo"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
